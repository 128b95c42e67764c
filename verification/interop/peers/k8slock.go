package main

import (
	"context"
	"fmt"
	"os"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// k8slockOptions are those of k8slock, in milliseconds.
type k8slockOptions struct {
	// TTL is 0 for a lock that does not expire.
	TTL int64 `json:"ttl"`
	// RetryWait is 1000 by default.
	RetryWait int64 `json:"retryWait"`
	// ClockAhead is how far the wall clock of this process is ahead.
	ClockAhead int64 `json:"clockAhead"`
}

func lockAgainAndAgain(ctx context.Context, leases coordination.LeaseInterface, options options) error {
	settings := options.K8slock
	locker := locker{
		leases:    leases,
		name:      options.Lease,
		ttl:       milliseconds(settings.TTL),
		retryWait: milliseconds(settings.RetryWait),
		now:       func() time.Time { return time.Now().Add(milliseconds(settings.ClockAhead)) },
	}
	err := locker.create(ctx)
	for apierrors.IsAlreadyExists(err) { // somebody else was faster
		err = locker.create(ctx)
	}
	if err != nil {
		return err
	}
	for turn := 1; ctx.Err() == nil; turn++ {
		locker.clientID = fmt.Sprintf("%s_%d", options.Name, turn)
		if err := locker.lockOnce(ctx, options.holdOf(turn)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		sleep(ctx, options.Rest.draw())
	}
	return nil
}

func (l *locker) lockOnce(ctx context.Context, hold time.Duration) error {
	askedAt := monotonic()
	if err := l.lock(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it is time to end
		}
		return err
	}
	belief := believe(l.name, l.clientID, askedAt)
	sleep(ctx, hold)
	belief.ended("released")
	return l.unlock(context.Background())
}

// locker follows the protocol of github.com/jrhouston/k8slock, at 6f294b1: what it reads, how it
// judges, and what it writes, including what it does not check before it dereferences it.
type locker struct {
	leases    coordination.LeaseInterface
	name      string
	clientID  string
	ttl       time.Duration
	retryWait time.Duration
	now       func() time.Time
}

// create makes the Lease if there is none: NewLocker.
func (l *locker) create(ctx context.Context) error {
	_, err := l.leases.Get(ctx, l.name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	_, err = l.leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: l.name},
		Spec:       coordinationv1.LeaseSpec{LeaseTransitions: new(int32)},
	}, metav1.CreateOptions{})
	return err
}

func (l *locker) lock(ctx context.Context) error {
	for {
		lease, err := l.leases.Get(ctx, l.name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		if !l.isHeld(&lease.Spec) {
			l.take(&lease.Spec)
			_, err := l.leases.Update(ctx, lease, metav1.UpdateOptions{})
			if !apierrors.IsConflict(err) {
				return err
			}
		}
		time.Sleep(l.retryWait)
	}
}

// isHeld takes a holder without a duration for one that never expires, and else goes by its own wall clock.
func (l *locker) isHeld(spec *coordinationv1.LeaseSpec) bool {
	if spec.HolderIdentity == nil {
		return false
	}
	if spec.LeaseDurationSeconds == nil {
		return true
	}
	duration := time.Duration(*spec.LeaseDurationSeconds) * time.Second
	return spec.AcquireTime.Add(duration).After(l.now())
}

// take leaves renewTime as it is, and without a TTL the duration, too.
func (l *locker) take(spec *coordinationv1.LeaseSpec) {
	transitions := *spec.LeaseTransitions + 1
	spec.HolderIdentity = &l.clientID
	spec.LeaseTransitions = &transitions
	spec.AcquireTime = &metav1.MicroTime{Time: l.now()}
	if seconds := int32(l.ttl.Seconds()); l.ttl > 0 {
		spec.LeaseDurationSeconds = &seconds
	}
}

func (l *locker) unlock(ctx context.Context) error {
	lease, err := l.leases.Get(ctx, l.name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	if holder := lease.Spec.HolderIdentity; holder == nil || *holder != l.clientID {
		return fmt.Errorf("unlock: %s is not the holder", l.clientID)
	}
	lease.Spec.HolderIdentity = nil
	lease.Spec.AcquireTime = nil
	lease.Spec.LeaseDurationSeconds = nil
	_, err = l.leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

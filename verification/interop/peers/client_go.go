package main

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// clientGoOptions are those of client-go's leader election, in milliseconds.
type clientGoOptions struct {
	LeaseDuration   int64 `json:"leaseDuration"`
	RenewDeadline   int64 `json:"renewDeadline"`
	RetryPeriod     int64 `json:"retryPeriod"`
	ReleaseOnCancel bool  `json:"releaseOnCancel"`
}

func leadAgainAndAgain(ctx context.Context, client coordination.LeasesGetter, options options) error {
	for turn := 1; ctx.Err() == nil; turn++ {
		if err := leadOnce(ctx, client, options, turn); err != nil {
			return err
		}
		sleep(ctx, options.Rest.draw())
	}
	return nil
}

// leadOnce is a candidate until it has led for a while, as a process that is started anew each time.
func leadOnce(stop context.Context, client coordination.LeasesGetter, options options, turn int) error {
	settings := options.ClientGo
	identity := fmt.Sprintf("%s_%d", options.Name, turn)
	askedAt := monotonic()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	current := &term{cancel: cancel}
	defer context.AfterFunc(stop, current.withdraw)()

	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: options.Namespace, Name: options.Lease},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration:   milliseconds(settings.LeaseDuration),
		RenewDeadline:   milliseconds(settings.RenewDeadline),
		RetryPeriod:     milliseconds(settings.RetryPeriod),
		ReleaseOnCancel: settings.ReleaseOnCancel,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				belief := current.begin(options.Lease, identity, askedAt)
				if belief == nil {
					return
				}
				worked, done := context.WithTimeout(leading, options.holdOf(turn))
				defer done()
				defer context.AfterFunc(stop, done)()
				<-worked.Done()
				// With ReleaseOnCancel, the work has to be over before the context is canceled.
				if leading.Err() == nil {
					belief.ended("released")
				}
				cancel()
			},
			OnStoppedLeading: current.stopped,
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	return nil
}

// term is one candidacy: it is withdrawn, or becomes a time of leading.
type term struct {
	mutex  sync.Mutex
	cancel context.CancelFunc
	over   bool
	belief *belief
}

// withdraw ends it unless it leads already: then it ends by itself.
func (t *term) withdraw() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.belief == nil {
		t.over = true
		t.cancel()
	}
}

// begin returns nil when it was over in the moment in which it succeeded.
func (t *term) begin(lock, holding string, askedAt float64) *belief {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if !t.over {
		t.belief = believe(lock, holding, askedAt)
	}
	return t.belief
}

// stopped is called by client-go in any case, also for one that has never led.
func (t *term) stopped() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.over = true
	if t.belief != nil {
		t.belief.ended("lost")
	}
}

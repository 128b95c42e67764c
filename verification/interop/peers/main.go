// Peers is a client of client-go's leader election, or one that follows k8slock's protocol, in a
// process of its own. It takes part in the contention for one Lease: takes it, holds it for a while,
// gives it up, rests, and begins anew.
//
//	peers client-go|k8slock
//
// Its options are a line of JSON on stdin. What it believes goes to stdout, one line of JSON for each
// event, as verification/beliefs/belief-log.ts has them. It ends in order when its stdin ends: so it does not
// outlive whoever started it. Whatever is wrong is on stderr.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// span is the least and the most that something takes, in milliseconds.
type span [2]int64

func (s span) draw() time.Duration {
	return milliseconds(s[0] + rand.Int64N(s[1]-s[0]+1))
}

type options struct {
	// Name begins every holder identity of this process.
	Name       string `json:"name"`
	KubeConfig string `json:"kubeConfigYaml"`
	Namespace  string `json:"namespace"`
	Lease      string `json:"lock"`

	// Hold is how long it keeps the lock in a turn.
	Hold span `json:"hold"`
	// Long is how long it keeps it in every third turn, from the second on, if it is set.
	Long *span `json:"long"`
	// Rest is the time between two turns.
	Rest span `json:"rest"`

	ClientGo clientGoOptions `json:"clientGo"`
	K8slock  k8slockOptions  `json:"k8slock"`
}

// holdOf is how long the lock is kept in the nth turn.
func (o *options) holdOf(turn int) time.Duration {
	if o.Long != nil && turn%3 == 2 {
		return o.Long.draw()
	}
	return o.Hold.draw()
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kind string) error {
	// client-go logs each try that fails, which is the order of the day under contention.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))

	stdin := bufio.NewReader(os.Stdin)
	line, err := stdin.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no options: %w", err)
	}
	var options options
	if err := json.Unmarshal(line, &options); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		stop()
	}()

	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(options.KubeConfig))
	if err != nil {
		return err
	}
	config.QPS = -1 // as often as they are told to: the sharpest competition
	client, err := coordination.NewForConfig(config)
	if err != nil {
		return err
	}
	switch kind {
	case "client-go":
		return leadAgainAndAgain(ctx, client, options)
	case "k8slock":
		return lockAgainAndAgain(ctx, client.Leases(options.Namespace), options)
	default:
		return fmt.Errorf("there is no peer %q", kind)
	}
}

func milliseconds(n int64) time.Duration {
	return time.Duration(n) * time.Millisecond
}

// sleep returns early when ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

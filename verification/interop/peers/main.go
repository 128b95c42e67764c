// Peers is a client of client-go's leader election, or one that follows k8slock's protocol, in a
// process of its own. It takes part in the contention for one Lease: takes it, holds it for a while,
// gives it up, rests, and begins anew.
//
//	peers client-go|k8slock
//
// Its options are a line of JSON on stdin. What it believes goes to stdout, one line of JSON for each
// event, as verification/beliefs/belief-log.ts has them. It ends in order when its stdin ends: so it does not
// outlive whoever started it. Whatever is wrong is on stderr.
//
// For the benchmarks it is several contenders, each with a connection of its own as a pod has, and
// counts their requests for a while.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync/atomic"
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
	// Pods is how many contenders there are, if not one.
	Pods int `json:"pods"`
	// Window is when requests are counted, on the clock of beliefs. The process ends after it, if it is set.
	Window *[2]float64 `json:"window"`

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

	if options.Window != nil {
		go countRequests(*options.Window, stop)
	}
	if options.Pods == 0 {
		return contend(ctx, kind, options)
	}
	ended := make(chan error, options.Pods)
	for number := range options.Pods {
		pod := options
		pod.Name = fmt.Sprintf("%s-%d", options.Name, number)
		go func() { ended <- contend(ctx, kind, pod) }()
	}
	for range options.Pods {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

func contend(ctx context.Context, kind string, options options) error {
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(options.KubeConfig))
	if err != nil {
		return err
	}
	config.QPS = -1 // as often as they are told to: the sharpest competition
	// client-go shares the connections of clients that are configured alike; one that dials by itself is not.
	config.Dial = (&net.Dialer{}).DialContext
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{next} })
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

// requests is how many all contenders have sent.
var requests atomic.Int64

type counting struct{ next http.RoundTripper }

func (c counting) RoundTrip(request *http.Request) (*http.Response, error) {
	requests.Add(1)
	return c.next.RoundTrip(request)
}

// countRequests writes down how many requests there were between two moments, and ends the process in order.
func countRequests(window [2]float64, stop func()) {
	sleepUntil(window[0])
	before := requests.Load()
	sleepUntil(window[1])
	write(map[string]any{"event": "requests", "count": requests.Load() - before})
	stop()
}

func sleepUntil(at float64) {
	time.Sleep(time.Duration((at - monotonic()) * float64(time.Millisecond)))
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

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// belief is a time in which this process believes that it holds the lock.
type belief struct {
	holding string
	end     sync.Once
}

// believe writes down that the lock is held from now on, and since when it was asked for.
func believe(lock, holding string, askedAt float64) *belief {
	write(map[string]any{
		"event": "acquired", "lock": lock, "holding": holding, "asked": askedAt, "at": monotonic(),
	})
	return &belief{holding: holding}
}

// ended writes down that it is over; how is "released" or "lost". What comes after the first is ignored.
func (b *belief) ended(how string) {
	b.end.Do(func() {
		write(map[string]any{"event": "ended", "holding": b.holding, "how": how, "at": monotonic()})
	})
}

// write is one system call, so that a line is whole or not there.
func write(event map[string]any) {
	line, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stdout, "%s\n", line)
}

// monotonic gives milliseconds on the clock that all processes of this machine share.
func monotonic() float64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return float64(now.Nano()) / 1e6
}

// Package agent is the charm container's first process. It runs what the engine's unit agent asks
// for, reaps orphans, and on SIGTERM ends when the unit has run what comes before its pod goes.
package agent

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"localjuju/inpod/hook"
)

// A container whose unit agent cannot be reached must not hold up its pod's end.
const stopTimeout = 25 * time.Second

// Run serves until SIGTERM.
func Run() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	started := newChildren()
	go started.reap()
	go call(hook.Address(), started)
	<-signals
	done := make(chan struct{})
	go func() {
		_, _ = hook.Call(hook.Request{Argv: []string{"container-agent", os.Getenv("POD_UID")}})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopTimeout):
	}
}

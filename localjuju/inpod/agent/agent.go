// Package agent is the charm container's first process: it waits for SIGTERM and ends when the
// unit agent has run what the unit has to run before its pod goes.
package agent

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"localjuju/inpod/hook"
)

// A container whose agent cannot be reached must not hold up its pod's end.
const stopTimeout = 25 * time.Second

// Run serves until SIGTERM.
func Run() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-children: // as the first process of its namespace it reaps orphans
			for {
				pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
				if pid <= 0 || err != nil {
					break
				}
			}
		case <-signals:
			done := make(chan struct{})
			go func() {
				_, _ = hook.Call(hook.Request{Argv: []string{"container-agent", os.Getenv("POD_UID")}})
				close(done)
			}()
			select {
			case <-done:
			case <-time.After(stopTimeout):
			}
			return
		}
	}
}

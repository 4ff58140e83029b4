package agent

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// ended is how a child ended.
type ended struct {
	Code int     `json:"code"`        // 128 + N where signal N ended it
	CPU  float64 `json:"cpu_seconds"` // of it and of the children it waited for
}

// children are the programs that the agent started. As the first process of its namespace it also
// has orphans, and one wait is for all of them.
type children struct {
	lock    sync.Mutex
	waiting map[int]chan ended
	exits   chan os.Signal
}

func newChildren() *children {
	made := &children{waiting: map[int]chan ended{}, exits: make(chan os.Signal, 1)}
	signal.Notify(made.exits, syscall.SIGCHLD)
	return made
}

// start starts a program in a session of its own; its end comes on the channel.
func (c *children) start(path string, argv []string, attr *syscall.ProcAttr) (
	int, <-chan ended, error,
) {
	// No end is looked for meanwhile: it would be nobody's yet.
	c.lock.Lock()
	defer c.lock.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	end := make(chan ended, 1)
	c.waiting[pid] = end
	return pid, end, nil
}

func (c *children) reap() {
	for range c.exits {
		for c.reapOne() {
		}
	}
}

func (c *children) reapOne() bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	var status syscall.WaitStatus
	var usage syscall.Rusage
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &usage)
	if err == syscall.EINTR {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if end, found := c.waiting[pid]; found {
		delete(c.waiting, pid)
		code := status.ExitStatus()
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
		end <- ended{code, seconds(usage.Utime) + seconds(usage.Stime)}
	}
	return true
}

func seconds(time syscall.Timeval) float64 {
	return float64(time.Sec) + float64(time.Usec)/1e6
}

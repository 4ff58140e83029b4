package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// A line that is longer comes in parts.
const longestLine = 1 << 20

// execute runs a program, passes on its lines as they come, and says how it ended.
//
// When the engine's side closes, the program and what it started are killed.
func execute(asked request, input io.Reader, answers *json.Encoder, started *children) error {
	if len(asked.Argv) == 0 {
		return errors.New("no program is named")
	}
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()
	var ours, theirs [2]*os.File
	for i := range ours {
		var ends [2]int
		if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
			return err
		}
		ours[i], theirs[i] = os.NewFile(uintptr(ends[0]), "pipe"), os.NewFile(uintptr(ends[1]), "pipe")
		defer ours[i].Close()
		defer theirs[i].Close()
	}
	pid, end, err := started.start(asked.Argv[0], asked.Argv, &syscall.ProcAttr{
		Dir:   asked.Cwd,
		Env:   asked.Env,
		Files: []uintptr{nothing.Fd(), theirs[0].Fd(), theirs[1].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("cannot start %s in %s: %w", asked.Argv[0], asked.Cwd, err)
	}
	for _, file := range theirs {
		file.Close()
	}
	done, closed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, input) // ends when the engine's side closes
		select {
		case <-done:
		default:
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}()
	var reading sync.WaitGroup
	var writing sync.Mutex
	for i, name := range []string{"stdout", "stderr"} {
		reading.Go(func() {
			lines(ours[i], func(line string) {
				writing.Lock()
				defer writing.Unlock()
				_ = answers.Encode(map[string]string{name: line})
			})
		})
	}
	how := <-end
	reading.Wait()
	close(done)
	err = answers.Encode(how)
	<-closed
	return err
}

func lines(file *os.File, each func(line string)) {
	reader := bufio.NewReaderSize(file, 1<<16)
	var line []byte
	for {
		part, err := reader.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > 0 && (err != bufio.ErrBufferFull || len(line) >= longestLine) {
			each(string(line))
			line = line[:0]
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

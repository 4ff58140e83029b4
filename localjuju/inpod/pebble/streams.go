package pebble

import (
	"encoding/json"
	"os"
	"sync"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"
)

const endOfInput = 4 // Ctrl-D, as a terminal has it

// streams are a program's input and output: pipes, or a terminal.
type streams struct {
	stdin, stdout, stderr *os.File // the program's side
	input, output, errors *os.File // ours; errors is nil unless it is apart
	terminal              *os.File // ours, nil without one
	mu                    sync.Mutex
	inputClosed           bool
}

// openStreams makes them as the request asks: of a terminal the input is only when interactive.
func (e *execution) openStreams() (made *streams, err error) {
	made = &streams{}
	defer func() {
		if err != nil {
			made.closeProgramsSide()
			made.closeOurSide()
		}
	}()
	if e.asked.Terminal {
		if made.terminal, made.stdout, err = openTerminal(e.who); err != nil {
			return made, err
		}
		made.output, made.stderr = made.terminal, made.stdout
		if e.asked.Width > 0 && e.asked.Height > 0 {
			_ = resize(made.terminal, e.asked.Width, e.asked.Height)
		}
	} else {
		if made.output, made.stdout, err = os.Pipe(); err != nil {
			return made, err
		}
		made.stderr = made.stdout
	}
	if e.asked.Terminal && e.asked.Interactive {
		made.stdin, made.input = made.stdout, made.terminal
	} else if made.stdin, made.input, err = os.Pipe(); err != nil {
		return made, err
	}
	if e.asked.SplitStderr {
		made.errors, made.stderr, err = os.Pipe()
	}
	return made, err
}

func (s *streams) closeProgramsSide() {
	for _, file := range []*os.File{s.stdin, s.stdout, s.stderr} {
		if file != nil {
			file.Close() // the same file twice does no harm
		}
	}
}

func (s *streams) closeOurSide() {
	s.closeInput()
	for _, file := range []*os.File{s.output, s.errors} {
		if file != nil {
			file.Close()
		}
	}
}

func (s *streams) closeInput() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.input != nil && !s.inputClosed && s.input != s.terminal {
		s.input.Close()
	}
	s.inputClosed = true
}

// takeInput passes on what the client sends; its end, or the client's, ends the program's input.
func (s *streams) takeInput(from *websocket.Conn) {
	end := func() {
		if s.input == s.terminal { // closed, it would take the output along
			_, _ = s.input.Write([]byte{endOfInput})
			return
		}
		s.closeInput()
	}
	receive(from, func(kind int, data []byte) {
		if kind == websocket.BinaryMessage {
			_, _ = s.input.Write(data) // a program that has closed its input does not mind
			return
		}
		var asked struct{ Command string }
		if json.Unmarshal(data, &asked) == nil && asked.Command == "end" {
			end()
		}
	})
	end()
}

// receive reads until the client closes, and closes, too.
func receive(from *websocket.Conn, take func(kind int, data []byte)) {
	defer from.Close()
	for {
		kind, data, err := from.ReadMessage()
		if err != nil {
			return
		}
		take(kind, data)
	}
}

// sendOutput passes on what a program prints until the end.
func sendOutput(from *os.File, to *websocket.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		count, err := from.Read(buffer) // EIO at a terminal that no program has open
		if count > 0 && to.WriteMessage(websocket.BinaryMessage, buffer[:count]) != nil {
			from.Close() // the program gets SIGPIPE
			return
		}
		if err != nil {
			return
		}
	}
}

// openTerminal makes one that belongs to a user: our side and the program's.
func openTerminal(who *account) (ours, programs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var descriptor int
	err = withDescriptor(ours, func(master int) error {
		if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
		opened, _, failure := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
		if failure != 0 {
			return failure
		}
		descriptor = int(opened)
		return nil
	})
	if err != nil {
		ours.Close()
		return nil, nil, os.NewSyscallError("ioctl", err)
	}
	programs = os.NewFile(uintptr(descriptor), "/dev/pts")
	if who.isOther() {
		_ = programs.Chown(who.uid, -1)
	}
	return ours, programs, nil
}

func resize(terminal *os.File, width, height uint16) error {
	return withDescriptor(terminal, func(descriptor int) error {
		return unix.IoctlSetWinsize(
			descriptor, unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
}

// withDescriptor does not make the file a blocking one, as Fd does.
func withDescriptor(file *os.File, work func(descriptor int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(descriptor uintptr) { result = work(int(descriptor)) }); err != nil {
		return err
	}
	return result
}

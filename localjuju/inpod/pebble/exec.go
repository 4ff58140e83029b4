package pebble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"
)

const (
	connectTimeout = 5 * time.Second
	closeTimeout   = 10 * time.Second // for the client to say that it has seen the end
	usualPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// execRequest is the body of POST /v1/exec.
type execRequest struct {
	Command        []string          `json:"command"`
	ServiceContext string            `json:"service-context"`
	Environment    map[string]string `json:"environment"`
	WorkingDir     string            `json:"working-dir"`
	Timeout        string            `json:"timeout"`
	UserID         *int              `json:"user-id"`
	User           string            `json:"user"`
	GroupID        *int              `json:"group-id"`
	Group          string            `json:"group"`
	Terminal       bool              `json:"terminal"`
	Interactive    bool              `json:"interactive"`
	SplitStderr    bool              `json:"split-stderr"`
	Width          uint16            `json:"width"`
	Height         uint16            `json:"height"`
}

// execution is a program that a client runs, with its input and output over WebSockets.
type execution struct {
	asked       execRequest
	who         *account
	environment map[string]string
	folder      string
	timeout     time.Duration
	mu          sync.Mutex
	sockets     map[string]*websocket.Conn // nil for one that is not connected
	connected   chan struct{}              // closed when all are
	reading     bool                       // each socket has one who reads it to the end
	over        bool                       // no socket is connected any more
}

// newExecution checks the request. service is the context that it names.
func newExecution(asked execRequest, service serviceConfig) (*execution, error) {
	if len(asked.Command) == 0 {
		return nil, refused("must specify command")
	}
	if _, err := exec.LookPath(asked.Command[0]); err != nil {
		return nil, refused("cannot find executable %q", asked.Command[0])
	}
	timeout, err := parseDuration(asked.Timeout)
	if err != nil {
		return nil, refused("invalid timeout: %v", err)
	}
	as := runAs{asked.UserID, asked.User, asked.GroupID, asked.Group, asked.WorkingDir}
	as = as.over(service.runAs)
	who, err := as.account()
	if err != nil {
		return nil, err
	}
	made := &execution{
		asked: asked, who: who, timeout: timeout, connected: make(chan struct{}),
		sockets: map[string]*websocket.Conn{"control": nil, "stdio": nil},
	}
	if asked.SplitStderr {
		made.sockets["stderr"] = nil
	}
	made.environment = execEnvironment(who, service.Environment, asked.Environment)
	made.folder, err = execFolder(as.WorkingDir, made.environment["HOME"])
	return made, err
}

// execEnvironment is the daemon's with what is added; HOME and USER are the user's own.
func execEnvironment(who *account, added ...map[string]string) map[string]string {
	found, uid := ownEnvironment(), os.Getuid()
	if who != nil && who.uid != uid {
		delete(found, "HOME")
		delete(found, "USER")
		uid = who.uid
	}
	for _, each := range added {
		maps.Copy(found, each)
	}
	usual := map[string]string{"PATH": usualPath, "LANG": "C.UTF-8"}
	for key, value := range usual {
		if _, given := found[key]; !given {
			found[key] = value
		}
	}
	if entry, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		for key, value := range map[string]string{"HOME": entry.HomeDir, "USER": entry.Username} {
			if found[key] == "" {
				found[key] = value
			}
		}
	}
	return found
}

// execFolder is where a program starts: the folder asked for, else the user's home, else /.
func execFolder(given, home string) (string, error) {
	path, name := given, "working directory"
	if given == "" {
		path, name = home, "home directory"
	}
	if path == "" {
		return "/", nil
	}
	info, err := os.Stat(path)
	problem := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem = "does not exist"
	case err != nil:
		problem = err.Error()
	case !info.IsDir():
		problem = "not a directory"
	default:
		return path, nil
	}
	return "", fmt.Errorf("cannot call exec: %s %q %s", name, path, problem)
}

func (d *daemon) exec(_ http.ResponseWriter, r *http.Request) (any, error) {
	var asked execRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var service serviceConfig
	if name := asked.ServiceContext; name != "" {
		planned := d.services.plan[name]
		if planned == nil {
			return nil, refused("context service %q not found", name)
		}
		service = *planned
	}
	made, err := newExecution(asked, service)
	if err != nil {
		return nil, err
	}
	summary := fmt.Sprintf("Execute command %q", asked.Command[0])
	c := d.changes.add("exec", summary, step{"exec", summary})
	t := c.tasks[0]
	t.status = "Doing"
	d.executions[t.id] = made
	go func() {
		code, err := made.run(d.reaper)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.executions, t.id)
		t.data = map[string]any{"exit-code": code}
		if err != nil {
			t.addLog("ERROR", err.Error())
			t.end("Error")
		} else {
			t.end("Done")
		}
		c.finish()
	}()
	return accepted{c.id, map[string]any{
		"task-id": t.id, "environment": made.environment, "working-dir": made.folder,
	}}, nil
}

var upgrader = websocket.Upgrader{
	CheckOrigin: func(*http.Request) bool { return true }, // no browser reaches the socket
}

func (d *daemon) connectExec(w http.ResponseWriter, r *http.Request) (any, error) {
	d.mu.Lock()
	found := d.executions[r.PathValue("task")]
	d.mu.Unlock()
	if found == nil {
		return nil, notFound("cannot find task with id %q", r.PathValue("task"))
	}
	name := r.PathValue("name")
	found.mu.Lock()
	defer found.mu.Unlock()
	if known, wanted := found.sockets[name]; !wanted || known != nil || found.over {
		return nil, notFound("websocket %q is not to be connected", name)
	}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return written, nil // told by the upgrader
	}
	found.sockets[name] = socket
	for _, each := range found.sockets {
		if each == nil {
			return written, nil
		}
	}
	close(found.connected)
	return written, nil
}

// run runs the program to its end and gives its exit code, -1 with an error.
func (e *execution) run(reaper *reaper) (int, error) {
	defer e.closeAll()
	late := time.NewTimer(connectTimeout)
	defer late.Stop()
	select {
	case <-e.connected:
	case <-late.C:
		return -1, errors.New("timed out waiting for websocket connections")
	}
	streams, err := e.openStreams()
	if err != nil {
		return -1, err
	}
	ctx := context.Background()
	if e.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, e.timeout)
		defer cancel()
		ctx = limited
	}
	deadline, limited := ctx.Deadline()
	begun, err := reaper.spawn(program{
		argv: e.asked.Command, env: listed(e.environment), dir: e.folder, who: e.who,
		stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr,
		terminal: e.asked.Terminal,
	})
	streams.closeProgramsSide()
	if err != nil {
		streams.closeOurSide()
		return -1, err
	}
	var sending sync.WaitGroup
	sending.Go(func() { sendOutput(streams.output, e.sockets["stdio"]) })
	if e.asked.SplitStderr {
		sending.Go(func() { sendOutput(streams.errors, e.sockets["stderr"]) })
		go receive(e.sockets["stderr"], func(int, []byte) {})
	}
	e.reading = true
	go streams.takeInput(e.sockets["stdio"])
	go receive(e.sockets["control"], func(kind int, text []byte) {
		if kind == websocket.TextMessage {
			control(text, reaper, begun, streams.terminal)
		}
	})
	select {
	case <-begun.done:
	case <-ctx.Done():
		reaper.kill(begun, syscall.SIGKILL, false)
		<-begun.done
	}
	// Late is late, also where both were only seen afterwards.
	wasLate := limited && !time.Now().Before(deadline)
	// A child that keeps the output open keeps the client waiting, as upstream.
	sending.Wait()
	streams.closeOurSide()
	if wasLate {
		return -1, fmt.Errorf("timed out after %v: context deadline exceeded", e.timeout)
	}
	return begun.code, nil
}

// control does what the client asks for meanwhile.
func control(text []byte, reaper *reaper, begun *process, terminal *os.File) {
	var asked struct {
		Command string
		Signal  struct{ Name string }
		Resize  struct{ Width, Height uint16 }
	}
	if json.Unmarshal(text, &asked) != nil {
		return
	}
	switch asked.Command {
	case "signal":
		if number := unix.SignalNum(asked.Signal.Name); number != 0 {
			reaper.kill(begun, number, false)
		}
	case "resize":
		if terminal != nil {
			_ = resize(terminal, asked.Resize.Width, asked.Resize.Height)
		}
	}
}

// closeAll tells the clients that it is the end; they close, or are closed after a while.
func (e *execution) closeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	for name, socket := range e.sockets {
		if socket == nil {
			continue
		}
		if name != "control" {
			_ = socket.WriteMessage(websocket.TextMessage, []byte(`{"command":"end"}`))
		}
		deadline := time.Now().Add(closeTimeout)
		_ = socket.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline)
		_ = socket.SetReadDeadline(deadline)
		if !e.reading { // else who reads it closes it
			socket.Close()
		}
	}
}

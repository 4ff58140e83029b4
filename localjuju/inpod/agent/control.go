package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"localjuju/inpod/hook"
)

const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// caller is how the agent says who it is: the token is what proves it.
type caller struct {
	Pod   string `json:"pod"`
	Token string `json:"token"`
}

// reply is what the engine says to a caller.
type reply struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// opening is what the engine says on the control connection: the agent is to dial a stream.
type opening struct {
	Stream string `json:"stream"`
}

// call keeps a control connection to the engine, which may end and start again at any time.
func call(address string, started *children) {
	delay := firstDelay
	said := ""
	for {
		accepted, err := serve(address, started)
		if accepted {
			delay = firstDelay
			said = ""
		}
		if err != nil && err.Error() != said { // once, not at each try
			said = err.Error()
			fmt.Fprintln(os.Stderr, "container-agent: "+said)
		}
		time.Sleep(delay)
		delay = min(delay*2, lastDelay)
	}
}

// serve opens what the engine asks for until the control connection ends.
//
// It tells whether the engine let the agent in.
func serve(address string, started *children) (bool, error) {
	connection, err := net.Dial("unix", address)
	if err != nil {
		return false, err
	}
	defer connection.Close()
	// Read anew at each call: the node replaces it before it expires.
	token, err := os.ReadFile(hook.Account + "/token")
	if err != nil {
		return false, err
	}
	who := map[string]caller{"agent": {Pod: os.Getenv("POD_UID"), Token: string(token)}}
	if err := json.NewEncoder(connection).Encode(who); err != nil {
		return false, err
	}
	messages := json.NewDecoder(connection)
	var answer reply
	if err := messages.Decode(&answer); err != nil {
		return false, err
	}
	if !answer.OK {
		return false, errors.New(answer.Error)
	}
	for {
		var wanted opening
		if err := messages.Decode(&wanted); err != nil {
			return true, nil // the engine ended
		}
		go stream(address, wanted, started)
	}
}

// request is what a stream is for; see the kinds in `stream`.
type request struct {
	Kind      string   `json:"kind"`
	Argv      []string `json:"argv"`
	Env       []string `json:"env"`
	Cwd       string   `json:"cwd"`
	Folder    string   `json:"folder"`
	Version   string   `json:"version"`
	Container string   `json:"container"`
}

// failure ends a stream whose request cannot be done.
type failure struct {
	Error string `json:"error"`
}

// stream dials one connection, names the stream, and does what the engine asks on it.
func stream(address string, wanted opening, started *children) {
	connection, err := net.Dial("unix", address)
	if err != nil {
		return // the engine waits a limited time
	}
	defer connection.Close()
	answers := json.NewEncoder(connection)
	answers.SetEscapeHTML(false)
	if err := answers.Encode(wanted); err != nil {
		return
	}
	input := bufio.NewReader(connection)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return
	}
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return
	}
	switch asked.Kind {
	case "exec":
		err = execute(asked, input, answers, started)
	case "holds":
		err = answers.Encode(presence{holds(asked.Folder, asked.Version)})
	case "unpack":
		err = install(asked.Folder, asked.Version, input, answers)
	case "pebble":
		relay(asked.Container, input, connection)
		return
	default:
		err = fmt.Errorf("unknown kind of stream %q", asked.Kind)
	}
	if err != nil {
		_ = answers.Encode(failure{err.Error()})
	}
	// The engine closes: what is closed with something unread may lose what was answered.
	_, _ = io.Copy(io.Discard, input)
}

// Every hook command of a charm: it hands its arguments to the unit agent and prints the answer.
//
// It is installed once per command, as symbolic links; the name it was called by is the command.
// One JSON object goes each way over the unix socket named by JUJU_AGENT_SOCKET_ADDRESS.
// Called as "container-agent" it is the charm container's first process: it waits for SIGTERM
// and ends when the agent has run what the unit has to run before its pod goes.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	defaultSocket = "/run/juju/agent.sock"
	// What Kubernetes gives each pod to reach it by.
	account = "/var/run/secrets/kubernetes.io/serviceaccount"
	// A container whose agent cannot be reached must not hold up its pod's end.
	stopTimeout = 25 * time.Second
)

type request struct {
	Context string   `json:"context"`
	Argv    []string `json:"argv"`
	Stdin   *string  `json:"stdin"`
	Pid     int      `json:"pid"`
}

type answer struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Code   int    `json:"code"`
	File   string `json:"file"` // takes Stdout, where one was asked for
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, "ERROR "+text)
	os.Exit(1)
}

// wantsStdin tells whether a command reads its values from standard input.
func wantsStdin(argv []string) bool {
	for i, word := range argv {
		if word == "--file=-" || (word == "--file" && i+1 < len(argv) && argv[i+1] == "-") {
			return true
		}
	}
	return false
}

// inline replaces KEY#file=PATH by KEY=CONTENT: the file may be gone when the agent looks.
func inline(argv []string) error {
	for i, word := range argv {
		key, path, found := strings.Cut(word, "#file=")
		if !found || strings.HasPrefix(word, "-") {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		argv[i] = key + "=" + string(content)
	}
	return nil
}

// credentials gives the agent what only the pod has: its ServiceAccount's token.
func credentials() *string {
	token, err := os.ReadFile(filepath.Join(account, "token"))
	if err != nil {
		return nil
	}
	certificate, err := os.ReadFile(filepath.Join(account, "ca.crt"))
	if err != nil {
		return nil
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	text, err := json.Marshal(map[string]string{
		"token":       string(token),
		"certificate": string(certificate),
		"endpoint":    "https://" + net.JoinHostPort(host, port),
	})
	if err != nil {
		return nil
	}
	found := string(text)
	return &found
}

func call(message request) (answer, error) {
	var reply answer
	address := os.Getenv("JUJU_AGENT_SOCKET_ADDRESS")
	if address == "" {
		address = defaultSocket
	}
	connection, err := net.Dial("unix", address)
	if err != nil {
		return reply, err
	}
	defer connection.Close()
	if err := json.NewEncoder(connection).Encode(message); err != nil {
		return reply, err
	}
	err = json.NewDecoder(connection).Decode(&reply)
	return reply, err
}

func containerAgent() {
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
				_, _ = call(request{Argv: []string{"container-agent", os.Getenv("POD_UID")}})
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

func main() {
	name := filepath.Base(os.Args[0])
	if name == "container-agent" {
		containerAgent()
		return
	}
	message := request{
		Context: os.Getenv("JUJU_CONTEXT_ID"),
		Argv:    append([]string{name}, os.Args[1:]...),
		Pid:     os.Getpid(),
	}
	if message.Context == "" {
		fail("JUJU_CONTEXT_ID not set")
	}
	if strings.HasPrefix(name, "secret-") {
		if err := inline(message.Argv); err != nil {
			fail(err.Error())
		}
	}
	if wantsStdin(message.Argv) {
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			fail(err.Error())
		}
		stdin := string(text)
		message.Stdin = &stdin
	}
	if name == "credential-get" {
		message.Stdin = credentials()
	}
	reply, err := call(message)
	if err != nil {
		fail("the unit agent does not answer: " + err.Error())
	}
	if reply.File == "" {
		fmt.Print(reply.Stdout)
	} else if err := os.WriteFile(reply.File, []byte(reply.Stdout), 0o644); err != nil {
		fail(err.Error())
	}
	fmt.Fprint(os.Stderr, reply.Stderr)
	os.Exit(reply.Code)
}

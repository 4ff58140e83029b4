// Package hook is every hook command of a charm: it hands its arguments to the unit agent and
// prints the answer.
//
// One JSON object goes each way over the unix socket named by JUJU_AGENT_SOCKET_ADDRESS.
package hook

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const (
	defaultSocket = "/run/juju/agent.sock"
	// Account is the folder with what Kubernetes gives each pod to reach it by.
	Account = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// Request is what a command asks of the unit agent.
type Request struct {
	Context string   `json:"context"`
	Argv    []string `json:"argv"`
	Stdin   *string  `json:"stdin"`
	Pid     int      `json:"pid"`
}

// Answer is what the unit agent says.
type Answer struct {
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
	token, err := os.ReadFile(filepath.Join(Account, "token"))
	if err != nil {
		return nil
	}
	certificate, err := os.ReadFile(filepath.Join(Account, "ca.crt"))
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

// Address is the socket of the unit agent.
func Address() string {
	if address := os.Getenv("JUJU_AGENT_SOCKET_ADDRESS"); address != "" {
		return address
	}
	return defaultSocket
}

// Call asks the unit agent.
func Call(message Request) (Answer, error) {
	var reply Answer
	connection, err := net.Dial("unix", Address())
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

// Run is the command of this name; it ends the process.
func Run(name string) {
	message := Request{
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
	reply, err := Call(message)
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

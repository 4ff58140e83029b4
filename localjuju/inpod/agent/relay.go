package agent

import (
	"io"
	"net"
	"path/filepath"
)

const containers = "/charm/containers"

// relay joins the stream with the Pebble of a workload container, until either side closes.
func relay(container string, input io.Reader, connection net.Conn) {
	socket := filepath.Join(containers, filepath.Base(container), "pebble.socket")
	pebble, err := net.Dial("unix", socket)
	if err != nil {
		return // it does not run yet: the engine asks again
	}
	go func() {
		_, _ = io.Copy(pebble, input)
		pebble.Close()
	}()
	_, _ = io.Copy(connection, pebble)
	connection.Close() // which ends the copying of the other way
}

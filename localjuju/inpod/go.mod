module localjuju/inpod

go 1.25

require (
	github.com/gorilla/websocket v1.5.3
	golang.org/x/sys v0.35.0
	gopkg.in/yaml.v3 v3.0.1
)

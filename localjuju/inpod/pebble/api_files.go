package pebble

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
)

func (d *daemon) readFiles(w http.ResponseWriter, r *http.Request) (any, error) {
	query := r.URL.Query()
	switch action := query.Get("action"); action {
	case "list":
		found, err := listFiles(query.Get("path"), query.Get("pattern"), query.Get("itself") == "true")
		if err != nil {
			kind, status := fileErrorKind(err), http.StatusBadRequest
			switch kind {
			case "not-found":
				status = http.StatusNotFound
			case "permission-denied":
				status = http.StatusForbidden
			}
			return nil, &apiError{err.Error(), status, kind}
		}
		return found, nil
	case "read":
		sendFiles(w, query["path"])
		return written, nil
	default:
		return nil, refused("invalid action %q", action)
	}
}

// sendFiles ends the answer early where the connection or a file fails in its midst: the client
// sees that the last part is missing.
func sendFiles(w http.ResponseWriter, paths []string) {
	parts := multipart.NewWriter(w)
	w.Header().Set("Content-Type", parts.FormDataContentType())
	results := []fileResult{}
	for _, name := range paths {
		file, err := openFile(name)
		if err == nil {
			quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
			part, failure := parts.CreatePart(textproto.MIMEHeader{"Content-Disposition": {
				`form-data; name="files"; filename="` + quoted + `"`}})
			if failure == nil {
				_, failure = io.Copy(part, file)
			}
			file.Close()
			if failure != nil {
				return
			}
		}
		results = append(results, fileResultOf(name, err))
	}
	part, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="response"`},
		"Content-Type":        {"application/json"},
	})
	if err == nil {
		_ = json.NewEncoder(part).Encode(envelope{
			Type: "sync", StatusCode: 200, Status: "OK", Result: results})
		_ = parts.Close()
	}
}

func (d *daemon) writeFiles(w http.ResponseWriter, r *http.Request) (any, error) {
	kind, parameters, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" {
		return receiveFiles(multipart.NewReader(r.Body, parameters["boundary"]))
	}
	var body struct {
		Action string
		Dirs   []*fileSpec
		Paths  []*fileSpec
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	results := []fileResult{}
	switch body.Action {
	case "make-dirs":
		for _, spec := range body.Dirs {
			results = append(results, fileResultOf(spec.Path, makeFolder(spec)))
		}
	case "remove":
		for _, spec := range body.Paths {
			results = append(results, fileResultOf(spec.Path, removeFile(spec)))
		}
	default:
		return nil, refused("invalid action %q", body.Action)
	}
	return results, nil
}

func receiveFiles(parts *multipart.Reader) (any, error) {
	first, err := parts.NextRawPart()
	if err != nil {
		return nil, refused("cannot read request metadata: %v", err)
	}
	if first.FormName() != "request" {
		return nil, refused(`metadata field name must be "request"`)
	}
	var body struct {
		Action string
		Files  []*fileSpec
	}
	if err := json.NewDecoder(first).Decode(&body); err != nil {
		return nil, refused("cannot decode request metadata: %v", err)
	}
	if body.Action != "write" {
		return nil, refused(`multipart action must be "write", got %q`, body.Action)
	}
	specs, done := map[string]*fileSpec{}, map[string]fileResult{}
	for _, spec := range body.Files {
		specs[spec.Path] = spec
	}
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, refused("cannot read file part: %v", err)
		}
		// FileName would give the last part of the path only.
		_, given, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		spec := specs[given["filename"]]
		if spec == nil {
			return nil, refused("no metadata for path %q", given["filename"])
		}
		done[spec.Path] = fileResultOf(spec.Path, writeFile(spec, part))
	}
	results := []fileResult{}
	for _, spec := range body.Files {
		result, found := done[spec.Path]
		if !found {
			result = fileResultOf(spec.Path, fileRefused("no file content"))
		}
		results = append(results, result)
	}
	return results, nil
}

package pebble

import (
	"errors"
	"fmt"
	"net/http"
)

// apiError is an answer with a status other than success. kind is machine-readable, "" where
// Pebble gives none.
type apiError struct {
	message string
	status  int
	kind    string
}

func (e *apiError) Error() string { return e.message }

// refused says that the request was wrong.
func refused(format string, values ...any) *apiError {
	return &apiError{fmt.Sprintf(format, values...), http.StatusBadRequest, ""}
}

func notFound(format string, values ...any) *apiError {
	return &apiError{fmt.Sprintf(format, values...), http.StatusNotFound, "not-found"}
}

// asAPIError gives any error a status: what is not known to be the client's fault is ours.
func asAPIError(err error) *apiError {
	var known *apiError
	if errors.As(err, &known) {
		return known
	}
	return &apiError{err.Error(), http.StatusInternalServerError, ""}
}

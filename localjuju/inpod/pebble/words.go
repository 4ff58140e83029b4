package pebble

import "strings"

// splitWords splits a command line as a shell does, without expansion.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	begun := false
	for at := 0; at < len(line); at++ {
		switch letter := line[at]; letter {
		case ' ', '\t', '\n', '\r':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		case '\'', '"':
			begun = true
			for at++; ; at++ {
				if at >= len(line) {
					return nil, refused("EOF found when expecting closing quote")
				}
				if line[at] == letter {
					break
				}
				if letter == '"' && line[at] == '\\' && at+1 < len(line) &&
					strings.IndexByte("\\\"", line[at+1]) >= 0 {
					at++
				}
				word.WriteByte(line[at])
			}
		case '\\':
			begun = true
			if at++; at >= len(line) {
				return nil, refused("EOF found after escape character")
			}
			word.WriteByte(line[at])
		default:
			begun = true
			word.WriteByte(letter)
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

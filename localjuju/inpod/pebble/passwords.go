package pebble

import (
	"bytes"
	"crypto/sha512"
	"crypto/subtle"
	"regexp"
	"strconv"
)

// Passwords' hashes are of the form sha512-crypt, as `openssl passwd -6` writes them. Source:
// "Unix crypt using SHA-256 and SHA-512" by Ulrich Drepper.
var passwordForm = regexp.MustCompile(`^\$6\$(?:rounds=(\d+)\$)?([^$]*)\$([./0-9A-Za-z]{86})$`)

const (
	passwordLetters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	usualRounds     = 5000
	fewestRounds    = 1000
	mostRounds      = 999_999_999
	longestSalt     = 16
)

// fitsPassword tells whether it is the password of that hash; a hash of another form fits none.
func fitsPassword(password, hashed string) bool {
	match := passwordForm.FindStringSubmatch(hashed)
	if match == nil {
		return false
	}
	rounds := usualRounds
	if match[1] != "" {
		given, err := strconv.Atoi(match[1])
		if err != nil {
			given = mostRounds
		}
		rounds = min(max(given, fewestRounds), mostRounds)
	}
	salt := match[2][:min(len(match[2]), longestSalt)]
	made := hashPassword([]byte(password), []byte(salt), rounds)
	return subtle.ConstantTimeCompare([]byte(made), []byte(match[3])) == 1
}

func hashPassword(password, salt []byte, rounds int) string {
	other := digest(password, salt, password)
	first := [][]byte{password, salt, repeated(other, len(password))}
	for bits := len(password); bits > 0; bits >>= 1 {
		if bits&1 != 0 {
			first = append(first, other)
		} else {
			first = append(first, password)
		}
	}
	result := digest(first...)
	word := repeated(digest(bytes.Repeat(password, len(password))), len(password))
	grain := repeated(digest(bytes.Repeat(salt, 16+int(result[0]))), len(salt))
	for number := range rounds {
		begin, end := result, word
		if number%2 != 0 {
			begin, end = word, result
		}
		parts := [][]byte{begin}
		if number%3 != 0 {
			parts = append(parts, grain)
		}
		if number%7 != 0 {
			parts = append(parts, word)
		}
		result = digest(append(parts, end)...)
	}
	return passwordText(result)
}

func digest(parts ...[]byte) []byte {
	made := sha512.New()
	for _, part := range parts {
		made.Write(part)
	}
	return made.Sum(nil)
}

// repeated gives as many bytes of it, from the start again where it is too short.
func repeated(of []byte, length int) []byte {
	return bytes.Repeat(of, length/len(of)+1)[:length]
}

// passwordText has four letters for three bytes, which are taken 21 apart and in turn.
func passwordText(of []byte) string {
	var text []byte
	letters := func(number, count int) {
		for place := range count {
			text = append(text, passwordLetters[number>>(6*place)&63])
		}
	}
	at := [3]int{0, 21, 42}
	for range 21 {
		letters(int(of[at[0]])<<16|int(of[at[1]])<<8|int(of[at[2]]), 4)
		at = [3]int{at[1] + 1, at[2] + 1, at[0] + 1}
	}
	letters(int(of[63]), 2)
	return string(text)
}

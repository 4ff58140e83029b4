package pebble

import "testing"

// Made by `openssl passwd -6`.
const secretHash = "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/" +
	"cZ/1GM/O6IND4WQhG."

func TestPasswordsAreHashedAsOpensslDoes(t *testing.T) {
	longSalt := "$6$rasalt0123456789$RBvprIe1BuVyT2lXX3DMmb2m4rCKbv9kMHUFwl1rGGw2kHAHgLRzT66.LLeSleyYXbQ" +
		"dYq1M3daz0JCiQlWEM0"
	for _, each := range []struct {
		password, hashed string
		fits             bool
	}{
		{"secret", secretHash, true},
		{"Secret", secretHash, false},
		{"pä$s wörd", longSalt, true},
		{"secret", "secret", false},
	} {
		if fitsPassword(each.password, each.hashed) != each.fits {
			t.Errorf("%q and %q: not %v", each.password, each.hashed, each.fits)
		}
	}
}

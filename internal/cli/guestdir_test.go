package cli

import "testing"

func TestGuestDir(t *testing.T) {
	for _, tt := range []struct {
		uid        int
		data, home string
		want       string
	}{
		{0, "/x", "/root", "/var/lib/indy/guests"},
		{1000, "/data", "/home/u", "/data/indy/guests"},
		{1000, "", "/home/u", "/home/u/.local/share/indy/guests"},
		{1000, "data", "/home/u", "/home/u/.local/share/indy/guests"}, // what is relative is to be ignored
		{1000, "", "", ""},
		{1000, "", "home", ""},
	} {
		env := map[string]string{"XDG_DATA_HOME": tt.data, "HOME": tt.home}
		if got := guestDir(tt.uid, func(name string) string { return env[name] }); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

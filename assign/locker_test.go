package assign

import "testing"

const someLocks = `1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF
2: FLOCK  ADVISORY  WRITE 812 00:1a:1234 0 EOF
2: -> FLOCK  ADVISORY  WRITE 813 00:1a:1235 0 EOF
3: FLOCK  ADVISORY  READ  -1 00:1a:1236 0 EOF
4: OFDLCK ADVISORY  WRITE -1 00:1a:1237 0 0
5: LEASE  ACTIVE    READ  77 00:1a:1238 0 EOF
6: FLOCK  ADVISORY  READ  4194304 103:02:12 0 EOF
7: FLOCK
`

func TestLocker(t *testing.T) {
	for file, want := range map[string]int{
		"00:1a:1234": 812, "00:1a:1235": 0, "00:1a:1236": 0, "00:1a:1237": 0, "00:1a:1238": 0, "103:02:12": 4194304,
		"fd:00:2531452": 0, "00:1a:123": 0, "": 0,
	} {
		if got := locker([]byte(someLocks), file); got != want {
			t.Errorf("%s: %d, want %d", file, got, want)
		}
	}
}

func FuzzLocker(f *testing.F) {
	f.Add([]byte(someLocks), "00:1a:1234")
	f.Fuzz(func(t *testing.T, text []byte, file string) {
		if pid := locker(text, file); pid < 0 {
			t.Errorf("process %d", pid)
		}
	})
}

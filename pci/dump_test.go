package pci_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// A dumped function is one of a dump in the form of lspci -xxxx.
type dumped struct {
	address string // as the dump writes it
	config  pci.Config
	bytes   []byte
}

// readDump reads the functions of a dump. Text between the lines of bytes is passed over.
func readDump(t testing.TB, path string) []dumped {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`^((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) `)
	bytes := regexp.MustCompile(`^([0-9a-f]{2,3}):((?: [0-9a-f]{2}){1,16})\s*$`)
	var all []dumped
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if m := first.FindStringSubmatch(line); m != nil {
			all = append(all, dumped{address: m[1]})
			continue
		}
		m := bytes.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := &all[len(all)-1]
		if at, err := strconv.ParseUint(m[1], 16, 16); err != nil || int(at) != len(f.bytes) {
			t.Fatalf("%s: %s: bytes at %s, %d are known", path, f.address, m[1], len(f.bytes))
		}
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		f.bytes = append(f.bytes, b...)
	}
	for i := range all {
		if all[i].config, err = pci.NewConfig(all[i].bytes); err != nil {
			t.Fatalf("%s: %s: %v", path, all[i].address, err)
		}
	}
	return all
}

// readDecoded reads lspci's words on each function: its first line and the rest.
func readDecoded(t testing.TB, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all [][]string
	s := bufio.NewScanner(f)
	for s.Scan() {
		switch line := s.Text(); {
		case line == "":
		case line[0] != '\t':
			all = append(all, []string{line})
		default:
			all[len(all)-1] = append(all[len(all)-1], line)
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// dumps calls f with each dump of the collection and what lspci says of it.
func dumps(t *testing.T, f func(t *testing.T, name string, functions []dumped, decoded [][]string)) {
	dir := hosttest.Shared(t, "hwdata", "lspci")
	paths, err := filepath.Glob(filepath.Join(dir, "pciutils", "*"))
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d dumps, %v", len(paths), err)
	}
	for _, path := range paths {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			f(t, name, readDump(t, path), readDecoded(t, filepath.Join(dir, "pciutils_decoded", name+".lspci-vvvnn.txt")))
		})
	}
}

// A comparison holds our facts of one function against lspci's.
type comparison struct {
	t     *testing.T
	where string
	facts *int
	known map[string]string // differences that are understood: fact to reason
	used  map[string]bool
}

func (c *comparison) same(fact string, got, want any) {
	c.t.Helper()
	*c.facts++
	g, w := fmt.Sprint(got), fmt.Sprint(want)
	if g == w {
		return
	}
	key := c.where + " " + fact
	if _, ok := c.known[key]; ok {
		c.used[key] = true
		return
	}
	c.t.Errorf("%s %s: got %s, lspci says %s", c.where, fact, g, w)
}

func (c *comparison) none(fact string, err error) {
	c.t.Helper()
	if err != nil {
		c.same(fact, err, "readable")
	}
}

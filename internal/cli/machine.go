package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// reading are the flags of every command that looks at a machine.
type reading struct {
	from  string
	given func() bool // whether there is a --from
	json  bool

	partly error // what open could not read of a report
}

func (r *reading) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.from, "from", "", "look at the machine saved in this directory, txtar, tar archive or report instead of this host")
	r.given = func() bool { return cmd.Flags().Changed("from") }
	r.addJSON(cmd)
}

func (r *reading) addJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.json, "json", false, "write JSON")
}

// open returns the machine to look at and a function that lets go of it.
func (r *reading) open(env *Env) (fs.FS, func(), error) {
	if r.from == "" {
		if r.given != nil && r.given() {
			return nil, nil, usageError{errors.New("--from names no file")}
		}
		return env.Host, func() {}, nil
	}
	saved, err := openSaved(r.from)
	if saved == nil {
		return nil, nil, err
	}
	r.partly = err
	return saved, func() { _ = saved.Close() }, nil
}

// openSaved opens a saved machine or a report of another program. With a machine the
// error is what could not be read of it.
func openSaved(path string) (hostfs.Saved, error) {
	return hostfs.OpenWith(path, func(text []byte) (*hostfs.Tree, error) {
		t, _, err := importer.Parse(text)
		if errors.Is(err, importer.ErrUnknown) {
			err = fmt.Errorf("is text, but %w: a directory, a txtar, a tar archive, %s", errNoMachine, importer.Accepted)
		}
		return t, err
	})
}

var errNoMachine = errors.New("no machine in any form that --from takes")

// machine is a machine that has been read, with what could not be.
type machine struct {
	*laptop.Laptop
	fsys  fs.FS
	names *laptop.Names
	err   error
	saved bool // it does not run

	settings fs.FS // fsys with the settings of virtual functions

	// What guests have left in the devices of the running host; nil of a saved machine.
	residues func() (*assign.Residues, error)
}

func readMachine(env *Env, fsys fs.FS) *machine {
	l, err := laptop.Read(fsys)
	return machineOf(env, fsys, l, err)
}

// machineOf is readMachine of one that has been read, with what could not be.
func machineOf(env *Env, fsys fs.FS, l *laptop.Laptop, err error) *machine {
	// Names come from the lists installed here, whichever machine is looked at, and
	// from its devices where the lists know none.
	m := &machine{Laptop: l, fsys: fsys, names: laptop.NewNames(env.Names).Of(fsys), err: err, settings: env.settingsOf(fsys)}
	m.residues = func() (*assign.Residues, error) { return env.store().Residues(fsys) }
	return m
}

// look opens and reads a machine, lets the command show it, and says what could
// not be read.
func (r *reading) look(env *Env, show func(*machine) error) error {
	fsys, done, err := r.open(env)
	if err != nil {
		return err
	}
	defer done()
	m := readMachine(env, fsys)
	m.err, m.saved = errors.Join(r.partly, m.err), r.from != ""
	if m.saved {
		m.residues = nil // what is noted here is about the devices that are here
	}
	if err := show(m); err != nil {
		return err
	}
	if m.err != nil {
		return partlyRead{m.err}
	}
	return nil
}

// functions resolves words to PCI functions.
func (m *machine) functions(words []string) ([]pci.Address, error) {
	var found []pci.Address
	for _, w := range words {
		d, err := m.Find(w, m.names)
		if err != nil {
			return nil, err
		}
		if d.USB != nil {
			return nil, cannot{fmt.Errorf("%s: a USB device by itself is no PCI function, which is needed here; see indy why %s", w, d.Where())}
		}
		if d.PCI == nil {
			return nil, unsupported(w, d)
		}
		if !slices.Contains(found, d.PCI.Address) {
			found = append(found, d.PCI.Address)
		}
	}
	return found, nil
}

func writeJSON(env *Env, v any) error { return writeLine(env, v, "  ") }

// writeLine writes a document in one write: on one line unless it is indented.
func writeLine(env *Env, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := env.Stdout.Write(escapeJSON(b.Bytes()))
	return err
}

// escapeJSON writes as escapes what encoding/json leaves as it is and a terminal may
// act on: a saved machine or a device may say anything.
func escapeJSON(doc []byte) []byte {
	plain := func(r rune) bool { return r == '\n' || unicode.IsPrint(r) }
	if !bytes.ContainsFunc(doc, func(r rune) bool { return !plain(r) }) {
		return doc
	}
	var out []byte
	for _, r := range string(doc) {
		switch {
		case plain(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, "\\u%04x\\u%04x", high, low)
		default:
			out = fmt.Appendf(out, "\\u%04x", r)
		}
	}
	return out
}

func joinAddresses(all []pci.Address) string {
	s := make([]string, len(all))
	for i, a := range all {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}

// completeDevices offers the devices of this host, or of the machine --from names,
// with their names.
func completeDevices(env *Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var r reading
		if f := cmd.Flags().Lookup("from"); f != nil {
			r.from = f.Value.String()
		}
		fsys, done, err := r.open(env)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer done()
		m := readMachine(env, fsys)
		var offered []cobra.Completion
		for i := range m.Devices {
			d := &m.Devices[i]
			if word := d.Where(); strings.HasPrefix(word, prefix) && d.Role() != laptop.BridgeRole {
				offered = append(offered, cobra.CompletionWithDesc(word, string(d.Role())+": "+m.names.Name(d)))
			}
		}
		return offered, cobra.ShellCompDirectiveNoFileComp
	}
}

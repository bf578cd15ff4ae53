package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/internal/daemon"
)

// keyFlag is the flag that says where the passphrase of a guest's disks is. It is never on the
// command line, which all see.
type keyFlag struct{ file string }

func (k *keyFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "key-file", "", "`FILE` with the passphrase of the guest's disks, or - for standard input; asked for without it")
}

// ofGuest returns the passphrase of a guest's disks, nil for one that has none.
func (k *keyFlag) ofGuest(ctx context.Context, env *Env, d guest.Definition) ([]byte, error) {
	if !d.AsksPassphrase() {
		if k.file != "" {
			return nil, usageError{fmt.Errorf("--key-file: no disk of guest %s has a passphrase", d.Name)}
		}
		return nil, nil
	}
	return k.read(ctx, env, "Passphrase of the disk of guest "+d.Name, false)
}

// keyBy returns the passphrase of the disks of a guest that the daemon starts.
func keyBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, name string) ([]byte, error) {
	file, err := cmd.Flags().GetString("key-file")
	if err != nil {
		return nil, err
	}
	text, err := c.Show(ctx, name)
	if err != nil {
		return nil, err
	}
	d, err := guest.ParseDefinition(name, []byte(text.Definition))
	if err != nil {
		return nil, err
	}
	return (&keyFlag{file}).ofGuest(ctx, env, d)
}

// read reads the passphrase from the file, or asks for it on the terminal, a new one twice.
func (k *keyFlag) read(ctx context.Context, env *Env, prompt string, anew bool) ([]byte, error) {
	if k.file != "" {
		return k.readFile(env)
	}
	f, ok := env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, usageError{errors.New("the disk has a passphrase, and there is no terminal to ask on; give it by --key-file FILE, or - for standard input")}
	}
	key, err := askSecret(ctx, env, f, prompt)
	if err != nil || !anew {
		return key, checkedKey(key, err)
	}
	again, err := askSecret(ctx, env, f, "Again")
	defer clear(again)
	if err == nil && !bytes.Equal(key, again) {
		err = errors.New("the two are not the same")
	}
	if err = checkedKey(key, err); err != nil {
		clear(key)
		return nil, err
	}
	return key, nil
}

func checkedKey(key []byte, err error) error {
	if err == nil {
		err = qemu.CheckKey(key)
	}
	return err
}

// readFile reads a passphrase, which a line break at its end is no part of.
func (k *keyFlag) readFile(env *Env) ([]byte, error) {
	in := env.Stdin
	if k.file != "-" {
		f, err := os.Open(k.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text := make([]byte, guest.MaxKey+2) // one line break, and one to see that it is too long
	n, err := io.ReadFull(in, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(text)
		return nil, err
	}
	key := bytes.TrimSuffix(text[:n], []byte("\n"))
	if err := qemu.CheckKey(key); err != nil {
		clear(text)
		return nil, fmt.Errorf("--key-file %s: %w", k.file, err)
	}
	return key, nil
}

// askSecret asks for a line on a terminal that does not show it. When it is interrupted the
// terminal is as it was.
func askSecret(ctx context.Context, env *Env, f *os.File, prompt string) ([]byte, error) {
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(env.Stderr, "%s: ", prompt)
	type line struct {
		text []byte
		err  error
	}
	said := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		said <- line{text, err}
	}()
	select {
	case l := <-said:
		fmt.Fprintln(env.Stderr)
		if errors.Is(l.err, io.EOF) {
			l.err = errors.New("no passphrase was given")
		}
		return l.text, l.err
	case <-ctx.Done():
		fmt.Fprintln(env.Stderr)
		return nil, errors.Join(context.Cause(ctx), term.Restore(fd, before))
	}
}

// diskKeys returns the keys to the disks of a guest, as qemu.Options wants them.
func diskKeys(ctx context.Context, g guest.Guest, passphrase []byte) (keys [][]byte, err error) {
	defer clear(passphrase)
	for i, d := range g.Disks {
		var key []byte
		switch d.Key.Kind {
		case guest.Passphrase:
			if len(passphrase) == 0 {
				err = fmt.Errorf("the disk %s has a passphrase, and nobody is here to say it; start the guest with indy guest start %s, or give the disk a key that the host has (key: credential:FILE)", d.File, g.Name)
			}
			key = bytes.Clone(passphrase)
		case guest.Credential:
			key, err = qemu.OpenCredential(ctx, d.Key.File)
		default:
			continue
		}
		if err != nil {
			for _, k := range keys {
				clear(k)
			}
			return nil, err
		}
		if keys == nil {
			keys = make([][]byte, len(g.Disks))
		}
		keys[i] = key
	}
	return keys, nil
}

// secretKey makes the key to a disk of a passphrase, nil of none.
func secretKey(passphrase []byte) *qemu.DiskKey {
	if len(passphrase) == 0 {
		return nil
	}
	return &qemu.DiskKey{Secret: passphrase}
}

// An encryption is how a new disk is encrypted: not at all, by passphrase, or with a credential
// that the host or its TPM opens.
type encryption struct {
	word string
	key  keyFlag
}

// The words of --encrypt.
const (
	byPassphrase = "passphrase"
	byCredential = "credential"
	byTPM        = "tpm"
)

func (e *encryption) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.word, "encrypt", "", "encrypt the disk that is made; opened by a `passphrase`, a credential of this host, or one of its tpm")
	f.Lookup("encrypt").NoOptDefVal = byPassphrase
	e.key.add(cmd)
	_ = cmd.RegisterFlagCompletionFunc("encrypt", cobra.FixedCompletions([]cobra.Completion{byPassphrase, byCredential, byTPM}, cobra.ShellCompDirectiveNoFileComp))
}

// check returns an error of the flags.
func (e *encryption) check() error {
	switch e.word {
	case "", byPassphrase, byCredential, byTPM:
	default:
		return usageError{fmt.Errorf("--encrypt=%s: expected passphrase, credential or tpm", e.word)}
	}
	if e.key.file != "" && e.word != byPassphrase {
		return usageError{errors.New("--key-file is that of a passphrase; it goes with --encrypt=passphrase")}
	}
	return nil
}

// of returns how the key of a disk of that guest is found.
func (e *encryption) of(name string) guest.Key {
	switch e.word {
	case "":
		return guest.Key{}
	case byPassphrase:
		return guest.Key{Kind: guest.Passphrase}
	}
	return guest.Key{Kind: guest.Credential, File: name + ".cred"}
}

// secret returns the key of a disk that is to be made, nil for none: a random one, or the
// passphrase.
func (e *encryption) secret(ctx context.Context, env *Env, name string) (*qemu.DiskKey, error) {
	switch e.word {
	case "":
		return nil, nil
	case byPassphrase:
		text, err := e.key.read(ctx, env, "New passphrase of the disk of guest "+name, true)
		return secretKey(text), err
	}
	key := qemu.NewKey()
	return &key, nil
}

// seal makes the credential that holds the key, where there is to be one.
func (e *encryption) seal(ctx context.Context, file string, key *qemu.DiskKey) error {
	switch e.word {
	case byCredential:
		return qemu.MakeCredential(ctx, file, qemu.HostSeal, key.Secret)
	case byTPM:
		return qemu.MakeCredential(ctx, file, qemu.TPMSeal, key.Secret)
	}
	return nil
}

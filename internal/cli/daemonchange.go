package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/daemon"
)

// errNoDaemon is that there is nobody to ask about the machine's guests.
var errNoDaemon = errors.New("no daemon answers that knows you; its guests are for members of indy-users, indy-operators and indy-admins")

// sharedEntry is a guest of the daemon's as it is in the store. One that is damaged comes with
// its name and text alone.
func (e *Env) sharedEntry(ctx context.Context, c *daemon.Client, name string) (store.Entry, error) {
	text, err := c.Show(ctx, name)
	if err != nil {
		return store.Entry{}, err
	}
	found := store.Entry{Text: []byte(text.Definition), Dir: filepath.Join(guestDir(0, e.Getenv), name)}
	if text.Error != "" {
		e.errorf("%s", text.Error)
	}
	if found.Definition, err = guest.ParseDefinition(name, found.Text); err != nil {
		found.Definition = guest.Definition{Name: name}
	}
	return found, nil
}

func editBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
	before, err := env.sharedEntry(ctx, c, args[0])
	if err != nil {
		return err
	}
	return edit(env, cmd, before, func(text []byte) error {
		_, err := c.Edit(ctx, before.Name, string(before.Text), string(text))
		return err
	})
}

func deleteBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
	disks, err1 := cmd.Flags().GetBool("disks")
	yes, err2 := cmd.Flags().GetBool("yes")
	before, err3 := env.sharedEntry(ctx, c, args[0])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	return forget(env, before, disks, editing{yes: yes}, func() ([]string, error) { return c.Delete(ctx, before.Name, disks) })
}

func consoleBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
	if kept, err := cmd.Flags().GetBool("kept"); err == nil && kept {
		text, err := c.Kept(ctx, args[0], "console")
		if err == nil {
			_, err = plainWriter{env.Stdout}.Write(text)
		}
		return err
	}
	port, err := c.Attach(ctx, args[0])
	if err != nil {
		return err
	}
	if err := env.talk(ctx, port, args[0]); err != nil {
		return err
	}
	// It also ends for those who may be there no more, who are told so.
	var refused *daemon.RefusalError
	if _, err := c.Kept(ctx, args[0], "console"); errors.As(err, &refused) && refused.Code == 403 {
		return err
	}
	return nil
}

// createBy makes a guest of the machine, of which todo says which disks are to be made.
func createBy(ctx context.Context, env *Env, d guest.Definition, todo []making, key *qemu.DiskKey) error {
	size := int64(0)
	for _, m := range todo {
		if m.from != nil {
			return cannot{fmt.Errorf("the daemon does not convert images: qemu-img convert -O qcow2 makes one that it takes of %s", m.from.Name())}
		}
		size = m.size
	}
	c := env.daemon()
	if c == nil {
		return cannot{errNoDaemon}
	}
	defer c.Close()
	var secret []byte
	if key != nil {
		secret = key.Secret
		defer clear(secret)
	}
	made, err := c.Create(ctx, string(d.YAML()), size, secret)
	if err != nil {
		return refusedBy(err)
	}
	fmt.Fprintf(env.Stdout, "made guest %s, of this machine; look at it with: indy guest list\n", made.Name)
	return nil
}

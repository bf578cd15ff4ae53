package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/internal/lab"
)

func newSelftestCommand(env *Env) *cobra.Command {
	var dir, nonce string
	var inside bool
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "prove the whole cycle in the emulated laptop",
		Long: `Boot an emulated laptop, a real Linux kernel with a real IOMMU and VFIO under QEMU's
software emulation, and run this very indy in it: list, plan, assign, start a guest from
the assigned disk, stop it, release. Nothing of this host is touched; about a minute.

It needs QEMU, busybox-static and an unpacked Debian kernel: make lab fetches them into
.lab. --lab names another directory, as does the environment variable INDY_LAB.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			if inside {
				return orInterrupt(ctx, lab.SelfTestInside(ctx, self, nonce, env.Stdout))
			}
			l, err := openLab(env, dir)
			if err != nil {
				return err
			}
			return selftest(ctx, env, l, self)
		},
	}
	cmd.Flags().StringVar(&dir, "lab", "", "directory of the emulated laptop's files")
	cmd.Flags().BoolVar(&inside, "inside", false, "")
	cmd.Flags().StringVar(&nonce, "nonce", "", "")
	_ = cmd.Flags().MarkHidden("inside")
	_ = cmd.Flags().MarkHidden("nonce")
	return cmd
}

func selftest(ctx context.Context, env *Env, l *lab.Lab, self string) error {
	if err := lab.SelfTest(ctx, l, self, env.Stdout); err != nil {
		return orInterrupt(ctx, err)
	}
	fmt.Fprintln(env.Stdout, "self-test passed")
	return nil
}

// openLab looks for the emulated laptop's files where the user says, else where make
// lab and a package put them.
func openLab(env *Env, dir string) (*lab.Lab, error) {
	if dir == "" {
		dir = env.Getenv("INDY_LAB")
	}
	if dir != "" {
		return lab.Open(dir)
	}
	candidates := []string{".lab", "/usr/lib/indy/lab"}
	if self, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(self), "..", ".lab"))
	}
	var errs []error
	for _, c := range candidates {
		l, err := lab.Open(c)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, errs[0]
}

// Edu drives QEMU's teaching device "edu" (1234:11e8) from user space, as an example of
// the package vfio: registers, an interrupt, DMA there and back, and DMA to where
// nothing is mapped, which the IOMMU stops.
//
//	indy assign 0000:06:00.0 --guest example   # binds it to vfio-pci
//	edu 0000:06:00.0
//	indy release 0000:06:00.0
//
// A guest or an emulated machine has the device with -device edu,bus=PORT, where PORT
// is a root port, below an IOMMU.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: edu ADDRESS")
		os.Exit(2)
	}
	a, err := pci.ParseAddress(os.Args[1])
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = run(ctx, os.Stdout, a)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "edu:", err)
		os.Exit(1)
	}
}

// run does all of it, and says on w what came of it.
func run(ctx context.Context, w io.Writer, a pci.Address) (err error) {
	fmt.Fprintf(w, "what this kernel has of VFIO:\n%v", vfio.Probe())

	// Closing the address space stops the device before its memory goes.
	space, err := vfio.NewAddressSpace(vfio.AnyInterface)
	if err != nil {
		return err
	}
	defer func() {
		if closed := space.Close(); err == nil {
			err = closed
		}
	}()
	device, err := space.Open(a)
	if err != nil {
		return err
	}
	e, err := open(device)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "edu version %d.%d, by %v\n", e.major, e.minor, space.Interface())

	n, err := e.factorial(ctx, 12)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "12! = %d, told by an interrupt\n", n)

	if err := thereAndBack(ctx, e, space); err != nil {
		return err
	}
	fmt.Fprintf(w, "DMA: %d bytes went there and came back the same\n", bufferSize)

	if err := astray(ctx, e, space); err != nil {
		return err
	}
	fmt.Fprintf(w, "DMA to %#x, where nothing is mapped any more: the memory that was there is untouched\n", canaryAt)
	return nil
}

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"

	"github.com/project-independence/indy/vfio"
)

// Where the device finds memory. It has 28 bits of address.
const (
	sourceAt = 0x100000
	targetAt = 0x200000
	canaryAt = 0x300000
)

// thereAndBack has the device read one page and write it into another.
func thereAndBack(ctx context.Context, e *edu, space *vfio.AddressSpace) error {
	source, err := vfio.Allocate(bufferSize)
	if err != nil {
		return err
	}
	defer source.Close() // takes it from the device first
	target, err := vfio.Allocate(bufferSize)
	if err != nil {
		return err
	}
	defer target.Close()
	sent, got := make([]byte, bufferSize), make([]byte, bufferSize)
	rand.Read(sent)
	if _, err := source.WriteAt(sent, 0); err != nil {
		return err
	}
	if _, err := space.Map(sourceAt, source, vfio.Read); err != nil { // not for the device to write
		return err
	}
	if _, err := space.Map(targetAt, target, vfio.Write); err != nil {
		return err
	}
	if err := errors.Join(e.dma(ctx, sourceAt, false), e.dma(ctx, targetAt, true)); err != nil {
		return err
	}
	if _, err := target.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return errors.New("what came back is not what went there")
	}
	return nil
}

// astray has the device write to memory that was mapped for it and is no more. The
// device notices nothing; the IOMMU keeps it from the page, and the kernel logs a fault.
func astray(ctx context.Context, e *edu, space *vfio.AddressSpace) error {
	canary, err := vfio.Allocate(bufferSize)
	if err != nil {
		return err
	}
	defer canary.Close()
	want, got := bytes.Repeat([]byte("canary! "), bufferSize/8), make([]byte, bufferSize)
	if _, err := canary.WriteAt(want, 0); err != nil {
		return err
	}
	mapped, err := space.Map(canaryAt, canary, vfio.Read|vfio.Write)
	if err != nil {
		return err
	}
	if err := mapped.Unmap(); err != nil {
		return err
	}
	if err := e.dma(ctx, canaryAt, true); err != nil {
		return err
	}
	if _, err := canary.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("the device wrote to memory that is not its own any more")
	}
	return nil
}

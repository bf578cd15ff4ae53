package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/project-independence/indy/vfio"
)

// Registers of the device (QEMU's docs/specs/edu.rst).
const (
	identity        = 0x00 // 0xMMmm00ed: version MM.mm
	liveness        = 0x04 // answers what is written, inverted
	factorial       = 0x08
	status          = 0x20
	interruptStatus = 0x24
	interruptAck    = 0x64
	dmaSource       = 0x80
	dmaDestination  = 0x88
	dmaCount        = 0x90
	dmaCommand      = 0x98

	whenDone = 0x80 // of status: interrupt when the factorial is computed

	dmaStart     = 1 << 0
	dmaToMemory  = 1 << 1 // to memory of the host, not to the device's buffer
	dmaInterrupt = 1 << 2

	factorialDone = 0x001 // of interruptStatus
	dmaDone       = 0x100

	buffer     = 0x40000 // the device's own, as its DMA engine sees it
	bufferSize = 4096
)

// An edu is the open device. Its errors are package vfio's, which name the device.
type edu struct {
	registers    *vfio.MappedRegion
	interrupts   *vfio.Signals
	major, minor uint8
}

// open makes sure of the device and readies it.
func open(d *vfio.Device) (*edu, error) {
	registers, err := d.MapRegion(0)
	if err != nil {
		return nil, err
	}
	e := &edu{registers: registers}
	id, err := registers.Load32(identity)
	if err != nil {
		return nil, err
	}
	if id&0xffff != 0x00ed {
		return nil, fmt.Errorf("%v is no edu: its identity is %#x", d.Address(), id)
	}
	e.major, e.minor = uint8(id>>24), uint8(id>>16)
	if err := registers.Store32(liveness, 0x12345678); err != nil {
		return nil, err
	}
	if v, err := registers.Load32(liveness); err != nil || v != ^uint32(0x12345678) {
		return nil, fmt.Errorf("the device does not live: %#x, %v", v, err)
	}
	if err := d.SetBusMaster(true); err != nil { // for DMA, and for the interrupt, which is a write to memory
		return nil, err
	}
	e.interrupts, err = d.EnableInterrupts(vfio.MSI, 1)
	return e, err
}

// wait waits for an interrupt and acknowledges it.
func (e *edu) wait(ctx context.Context, reason uint32) error {
	if _, err := e.interrupts.Wait(ctx, 0); err != nil {
		return err
	}
	got, err := e.registers.Load32(interruptStatus)
	if err != nil {
		return err
	}
	if got != reason {
		return fmt.Errorf("an interrupt for %#x, not %#x", got, reason)
	}
	return e.registers.Store32(interruptAck, got)
}

// factorial has the device compute n!.
func (e *edu) factorial(ctx context.Context, n uint32) (uint32, error) {
	err := errors.Join(e.registers.Store32(status, whenDone), e.registers.Store32(factorial, n))
	if err == nil {
		err = e.wait(ctx, factorialDone)
	}
	if err != nil {
		return 0, err
	}
	return e.registers.Load32(factorial)
}

// dma has the device copy: from memory into its buffer, or the other way round.
func (e *edu) dma(ctx context.Context, iova uint32, toMemory bool) error {
	from, to, command := iova, uint32(buffer), uint32(dmaStart|dmaInterrupt)
	if toMemory {
		from, to, command = buffer, iova, command|dmaToMemory
	}
	if err := errors.Join(
		e.registers.Store32(dmaSource, from), e.registers.Store32(dmaDestination, to),
		e.registers.Store32(dmaCount, bufferSize), e.registers.Store32(dmaCommand, command),
	); err != nil {
		return err
	}
	return e.wait(ctx, dmaDone)
}

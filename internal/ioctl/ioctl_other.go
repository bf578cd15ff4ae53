//go:build !linux

package ioctl

import "errors"

// Int fails: there is no such call here.
func Int(uintptr, uint) (int, error) { return 0, errors.ErrUnsupported }

// Value fails: there is no such call here.
func Value(uintptr, uint, uintptr) (int, error) { return 0, errors.ErrUnsupported }

// Struct fails: there is no such call here.
func Struct(uintptr, uint, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Pointing fails: there is no such call here.
func Pointing(uintptr, uint, []byte, int, []byte) (int, error) { return 0, errors.ErrUnsupported }

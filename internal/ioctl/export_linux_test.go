package ioctl

// Again is again, for the external tests.
var Again = again

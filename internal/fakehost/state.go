package fakehost

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A stateNode is a file or directory of those in which programs keep what they know:
// one of a directory on the real host, with a hook before each change. Locks are the
// kernel's, as on any local file system.
type stateNode struct {
	*fs.LoopbackNode
	host *Host
}

// newStateFS returns the file system of what is in dir.
func newStateFS(h *Host, dir string) (fs.InodeEmbedder, error) {
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return nil, err
	}
	node := &stateNode{root.(*fs.LoopbackNode), h}
	node.RootData.RootNode = node
	return node, nil
}

// WrapChild makes a node of this kind of each that is found or made.
func (n *stateNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &stateNode{ops.(*fs.LoopbackNode), n.host}
}

func (n *stateNode) name() string          { return n.Path(nil) }
func (n *stateNode) child(c string) string { return filepath.Join(n.name(), c) }

// change tells of an operation and does it.
func (n *stateNode) change(ctx context.Context, kind, name string, data []byte, do func(take int) syscall.Errno) syscall.Errno {
	op := Op{Kind: kind, Name: name, Data: data}
	if caller, ok := fuse.FromContext(ctx); ok {
		op.TID = int(caller.Pid)
	}
	return n.host.op(op).run(do)
}

// A stateFile is an open file. It is not go-fuse's own, which the kernel would be told
// to write to without asking.
type stateFile struct{ *os.File }

func (f *stateFile) Read(_ context.Context, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := unix.Pread(int(f.Fd()), buf, off)
	return fuse.ReadResultData(buf[:max(n, 0)]), fs.ToErrno(err)
}

func (f *stateFile) Release(context.Context) syscall.Errno { return fs.ToErrno(f.Close()) }
func (f *stateFile) Flush(context.Context) syscall.Errno   { return 0 }

func (n *stateNode) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	const not = syscall.O_APPEND | syscall.O_CREAT | syscall.O_EXCL | syscall.O_TRUNC
	f, err := os.OpenFile(filepath.Join(n.RootData.Path, n.name()), int(flags)&^not, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return &stateFile{f}, fuse.FOPEN_DIRECT_IO, 0
}

func (n *stateNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (node *fs.Inode, fh fs.FileHandle, fuseFlags uint32, errno syscall.Errno) {
	errno = n.change(ctx, "create", n.child(name), nil, func(int) syscall.Errno {
		var made fs.FileHandle
		if node, made, _, errno = n.LoopbackNode.Create(ctx, name, flags, mode, out); errno != 0 {
			return errno
		}
		_ = made.(fs.FileReleaser).Release(ctx)
		f, err := os.OpenFile(filepath.Join(n.RootData.Path, n.child(name)), os.O_RDWR, 0)
		fh, fuseFlags = &stateFile{f}, fuse.FOPEN_DIRECT_IO
		return fs.ToErrno(err)
	})
	return node, fh, fuseFlags, errno
}

func (n *stateNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (node *fs.Inode, errno syscall.Errno) {
	errno = n.change(ctx, "mkdir", n.child(name), nil, func(int) syscall.Errno {
		node, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		return errno
	})
	return node, errno
}

func (n *stateNode) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.change(ctx, "unlink", n.child(name), nil, func(int) syscall.Errno { return n.LoopbackNode.Unlink(ctx, name) })
}

func (n *stateNode) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.change(ctx, "rmdir", n.child(name), nil, func(int) syscall.Errno { return n.LoopbackNode.Rmdir(ctx, name) })
}

func (n *stateNode) Rename(ctx context.Context, name string, to fs.InodeEmbedder, toName string, flags uint32) syscall.Errno {
	return n.change(ctx, "rename", filepath.Join(to.EmbeddedInode().Path(nil), toName), nil, func(int) syscall.Errno {
		return n.LoopbackNode.Rename(ctx, name, to, toName, flags)
	})
}

func (n *stateNode) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (written uint32, errno syscall.Errno) {
	errno = n.change(ctx, "write", n.name(), data, func(take int) syscall.Errno {
		if take >= 0 {
			data = data[:min(take, len(data))]
		}
		did, err := unix.Pwrite(int(f.(*stateFile).Fd()), data, off)
		written = uint32(max(did, 0))
		return fs.ToErrno(err)
	})
	return written, errno
}

func (n *stateNode) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	return n.change(ctx, "allocate", n.name(), nil, func(int) syscall.Errno {
		return fs.ToErrno(unix.Fallocate(int(f.(*stateFile).Fd()), mode, int64(off), int64(size)))
	})
}

func (n *stateNode) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) (errno syscall.Errno) {
	if _, cut := in.GetSize(); !cut {
		return n.LoopbackNode.Setattr(ctx, nil, in, out)
	}
	return n.change(ctx, "truncate", n.name(), nil, func(int) syscall.Errno { return n.LoopbackNode.Setattr(ctx, nil, in, out) })
}

func (n *stateNode) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.LoopbackNode.Getattr(ctx, nil, out)
}

// Fsync is that of a file and of a directory. What it promises is kept by the real host:
// only a process dies here.
func (n *stateNode) Fsync(ctx context.Context, _ fs.FileHandle, _ uint32) syscall.Errno {
	return n.change(ctx, "fsync", n.name(), nil, func(int) syscall.Errno { return 0 })
}

func (n *stateNode) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	opened, _, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return stateDir{
		opened.(fs.FileReaddirenter), opened.(fs.FileSeekdirer), opened.(fs.FileReleasedirer), n,
	}, 0, 0
}

// A stateDir is an open directory.
type stateDir struct {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	node *stateNode
}

// Fsyncdir makes the names in the directory last.
func (d stateDir) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	return d.node.Fsync(ctx, nil, flags)
}

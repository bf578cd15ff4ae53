//go:build ignore

/* (The first line keeps Go from compiling this file with its package.)
 *
 * floor DIR ROUNDS: the least an enumeration can cost. For each PCI function in
 * DIR/bus/pci/devices it opens, reads and closes uevent and reads the link
 * iommu_group, all relative to the open directory, and forgets what it read.
 * Prints the median of ROUNDS scans in nanoseconds, and the number of functions. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int scan(const char *dir)
{
	char name[512], buf[4096];
	int functions = 0;
	DIR *d = opendir(dir);
	if (!d) {
		perror(dir);
		exit(1);
	}
	int at = dirfd(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/uevent", e->d_name);
		int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			if (read(fd, buf, sizeof buf) < 0)
				perror(name);
			close(fd);
		}
		snprintf(name, sizeof name, "%s/iommu_group", e->d_name);
		if (readlinkat(at, name, buf, sizeof buf) >= 0)
			buf[0] = 0;
		functions++;
	}
	closedir(d);
	return functions;
}

static int compare(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	int rounds = argc == 3 ? atoi(argv[2]) : 0;
	if (rounds < 1) {
		fprintf(stderr, "usage: floor DIR ROUNDS\n");
		return 2;
	}
	char dir[4096];
	snprintf(dir, sizeof dir, "%s/bus/pci/devices", argv[1]);
	long *ns = calloc(rounds, sizeof *ns);
	int functions = 0;
	for (int i = 0; i < rounds; i++) {
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		functions = scan(dir);
		clock_gettime(CLOCK_MONOTONIC, &b);
		ns[i] = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
	}
	qsort(ns, rounds, sizeof *ns, compare);
	printf("%ld %d\n", ns[rounds / 2], functions);
	return 0;
}

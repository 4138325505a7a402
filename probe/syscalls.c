// SPDX-License-Identifier: Apache-2.0
#include <linux/ioprio.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "syscalls.h"

int sys_pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int sys_pidfd_send_signal(int pidfd, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

ssize_t sys_process_madvise(int pidfd, const struct iovec *range, int advice)
{
	return syscall(SYS_process_madvise, pidfd, range, 1, advice, 0);
}

int sys_process_mrelease(int pidfd)
{
	return (int)syscall(SYS_process_mrelease, pidfd, 0);
}

int close_from(int first)
{
	return (int)syscall(SYS_close_range, first, ~0u, 0);
}

int ioprio_set_self(int priority)
{
	return (int)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority);
}

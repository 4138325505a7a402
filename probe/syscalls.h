/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that the C library has no functions for. -1 with errno: ENOSYS on a kernel older than the call. */
#ifndef PROBE_SYSCALLS_H
#define PROBE_SYSCALLS_H

#include <sys/types.h>
#include <sys/uio.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* 5.3 */
int sys_pidfd_open(pid_t pid);
/* 5.1 */
int sys_pidfd_send_signal(int pidfd, int signal);
/* 5.10; how many bytes it took. */
ssize_t sys_process_madvise(int pidfd, const struct iovec *range, int advice);
/* 5.15 */
int sys_process_mrelease(int pidfd);
/* 5.9; this descriptor and all above it. */
int close_from(int first);
/* I/O priority of the calling thread. */
int ioprio_set_self(int priority);

#endif

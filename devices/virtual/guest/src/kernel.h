/* SPDX-License-Identifier: Apache-2.0 */
// The few system calls that the guest's own programs need. They are built without a C library: that takes a tenth of
// a second instead of the minute that a libc for a new target needs.
#pragma once

enum {
	SYS_read = 0,
	SYS_write = 1,
	SYS_open = 2,
	SYS_close = 3,
	SYS_poll = 7,
	SYS_lseek = 8,
	SYS_mmap = 9,
	SYS_rt_sigprocmask = 14,
	SYS_dup2 = 33,
	SYS_nanosleep = 35,
	SYS_getpid = 39,
	SYS_socket = 41,
	SYS_connect = 42,
	SYS_sendmsg = 46,
	SYS_recvmsg = 47,
	SYS_bind = 49,
	SYS_listen = 50,
	SYS_socketpair = 53,
	SYS_getsockopt = 55,
	SYS_fork = 57,
	SYS_execve = 59,
	SYS_wait4 = 61,
	SYS_kill = 62,
	SYS_flock = 73,
	SYS_fsync = 74,
	SYS_ftruncate = 77,
	SYS_mkdir = 83,
	SYS_rmdir = 84,
	SYS_unlink = 87,
	SYS_chmod = 90,
	SYS_chown = 92,
	SYS_getuid = 102,
	SYS_setsid = 112,
	SYS_setgroups = 116,
	SYS_setresuid = 117,
	SYS_setresgid = 119,
	SYS_mlockall = 151,
	SYS_prctl = 157,
	SYS_getdents64 = 217,
	SYS_fadvise64 = 221,
	SYS_clock_gettime = 228,
	SYS_exit_group = 231,
	SYS_accept4 = 288,
	SYS_getrandom = 318,
	SYS_pidfd_send_signal = 424,
	SYS_pidfd_open = 434,
	SYS_close_range = 436,
	SYS_process_madvise = 440,
	SYS_process_mrelease = 448,
};

static inline long kernel(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define KERNEL(nr, a, b, c) kernel(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static inline unsigned long length(const char *text)
{
	unsigned long n = 0;
	while (text[n])
		n++;
	return n;
}

static inline int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

// The number in `text`, or -1 if it is not one.
static inline long number(const char *text)
{
	long value = 0;
	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || value > 1000000000)
			return -1;
		value = value * 10 + (*text - '0');
	}
	return value;
}

_Noreturn static inline void leave(int status)
{
	for (;;)
		KERNEL(SYS_exit_group, status, 0, 0);
}

_Noreturn static inline void fail(const char *message, int status)
{
	KERNEL(SYS_write, 2, message, length(message));
	leave(status);
}

// The compiler calls these for copies and assignments of structures.
void *memcpy(void *to, const void *from, unsigned long size)
{
	for (unsigned long i = 0; i < size; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int value, unsigned long size)
{
	for (unsigned long i = 0; i < size; i++)
		((char *)to)[i] = (char)value;
	return to;
}

// Each program defines this; the kernel hands over argc, argv and the environment on the stack.
_Noreturn void start(int argc, char **argv, char **environment);

__attribute__((naked, used)) void _start(void)
{
	__asm__("mov (%rsp), %edi\n"
		"lea 8(%rsp), %rsi\n"
		"lea 16(%rsp,%rdi,8), %rdx\n"
		"and $-16, %rsp\n"
		"call start\n");
}

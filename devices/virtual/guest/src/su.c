// SPDX-License-Identifier: Apache-2.0
// su, setuid root: `su`, `su -c CMD`, `su 0 CMD ARG...`, `su [-] [USER] [-c CMD]`, as on rooted phones and userdebug
// builds. For root and shell only, as Android's own. init starts adbd with it (`su shell adbd`).
#include "kernel.h"

enum { ROOT = 0, SHELL = 2000, LONGEST_COMMAND = 128 * 1024, NOT_ALLOWED = 1, NOT_FOUND = 127 };

// The groups that Android gives to adb's shell.
static const unsigned shell_groups[] = { 1004, 1007, 1011, 1015, 1028, 1078, 1079,
					 3001, 3002, 3003, 3006, 3009, 3011, 3012 };

static char command[LONGEST_COMMAND];

static void become(long id)
{
	int is_shell = id == SHELL;
	if (KERNEL(SYS_setgroups, is_shell ? sizeof shell_groups / sizeof *shell_groups : 0, shell_groups, 0) ||
	    KERNEL(SYS_setresgid, id, id, id) || KERNEL(SYS_setresuid, id, id, id))
		fail("su: not installed setuid root\n", NOT_ALLOWED);
}

static long user_id(const char *name)
{
	if (same(name, "root"))
		return ROOT;
	if (same(name, "shell"))
		return SHELL;
	return number(name);
}

// `su -c ls -l` runs `ls -l`: all that follows -c is the command, as with Magisk.
static void join(char **words)
{
	unsigned long used = 0;
	for (; *words; words++) {
		for (const char *c = *words; *c; c++) {
			if (used + 2 >= sizeof command)
				fail("su: command too long\n", NOT_ALLOWED);
			command[used++] = *c;
		}
		command[used++] = ' ';
	}
	command[used ? used - 1 : 0] = 0;
}

_Noreturn void start(int argc, char **argv, char **environment)
{
	long caller = KERNEL(SYS_getuid, 0, 0, 0), id = ROOT;
	int at = 1, login = 0;
	if (caller != ROOT && caller != SHELL)
		fail("su: not allowed\n", NOT_ALLOWED);

	for (int user_seen = 0; at < argc; at++) {
		if (same(argv[at], "-c") || same(argv[at], "--command"))
			break;
		if (same(argv[at], "-") || same(argv[at], "-l")) {
			login = 1;
		} else if (same(argv[at], "-mm") || same(argv[at], "-M") || same(argv[at], "-p")) {
			// there is one mount namespace and the environment is kept anyway
		} else if (argv[at][0] == '-') {
			fail("usage: su [-] [USER] [-c COMMAND | PROGRAM ARG...]\n", NOT_ALLOWED);
		} else if (!user_seen) {
			user_seen = 1;
			id = user_id(argv[at]);
			if (id < 0)
				fail("su: unknown user\n", NOT_ALLOWED);
		} else {
			break;
		}
	}
	become(id);

	char *shell = "/system/bin/sh";
	if (at == argc) {
		char *words[] = { login ? "-sh" : "sh", 0 };
		KERNEL(SYS_execve, shell, words, environment);
	} else if (argv[at][0] == '-') {
		if (at + 1 == argc)
			fail("su: -c needs a command\n", NOT_ALLOWED);
		join(argv + at + 1);
		char *words[] = { "sh", "-c", command, 0 };
		KERNEL(SYS_execve, shell, words, environment);
	} else {
		// The shell, because it is what searches PATH.
		static char *words[4096] = { "sh", "-c", "exec \"$@\"", "su" };
		int n = 4;
		while (at < argc) {
			if (n + 1 >= (int)(sizeof words / sizeof *words))
				fail("su: too many arguments\n", NOT_ALLOWED);
			words[n++] = argv[at++];
		}
		KERNEL(SYS_execve, shell, words, environment);
	}
	fail("su: no /system/bin/sh\n", NOT_FOUND);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * su, setuid root: `su`, `su -c CMD`, `su 0 CMD ARG...`, `su [-] [USER] [-c CMD]`, as on rooted phones and userdebug
 * builds. For root and shell only, as Android's own. init starts adbd with it (`su shell adbd`).
 */
#include <grp.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define SHELL_PROGRAM "/system/bin/sh"

enum { ROOT = 0, SHELL = 2000, LONGEST_COMMAND = 128 * 1024, MOST_WORDS = 4096, NOT_ALLOWED = 1, NOT_FOUND = 127 };

/* The groups that Android gives to adb's shell. */
static const gid_t shell_groups[] = {
	1004, 1007, 1011, 1015, 1028, 1078, 1079, 3001, 3002, 3003, 3006, 3009, 3011, 3012
};

static void become(uid_t id)
{
	if (setgroups(id == SHELL ? COUNT(shell_groups) : 0, shell_groups) || setresgid(id, id, id) ||
	    setresuid(id, id, id))
		fail(NOT_ALLOWED, "su: not installed setuid root\n");
}

static int user_id(const char *name)
{
	if (same(name, "root"))
		return ROOT;
	if (same(name, "shell"))
		return SHELL;
	return parse_number(name);
}

/* `su -c ls -l` runs `ls -l`: all that follows -c is the command, as with Magisk. */
static char *join(char **words)
{
	static char command[LONGEST_COMMAND];
	size_t used = 0;

	for (; *words; words++) {
		size_t size = strlen(*words);

		if (used + size + 1 >= sizeof(command))
			fail(NOT_ALLOWED, "su: command too long\n");
		memcpy(command + used, *words, size);
		used += size;
		command[used++] = ' ';
	}
	command[used ? used - 1 : 0] = '\0';
	return command;
}

static bool is_command(const char *word)
{
	return same(word, "-c") || same(word, "--command");
}

/* There is one mount namespace, and the environment is kept anyway. */
static bool is_no_matter(const char *word)
{
	return same(word, "-mm") || same(word, "-M") || same(word, "-p");
}

/* Where the command begins: -c, a program's name, or the end. */
static int read_options(int argc, char **argv, int *id, bool *login)
{
	bool user_seen = false;
	int at = 1;

	for (; at < argc && !is_command(argv[at]); at++) {
		if (same(argv[at], "-") || same(argv[at], "-l")) {
			*login = true;
		} else if (is_no_matter(argv[at])) {
			continue;
		} else if (argv[at][0] == '-') {
			fail(NOT_ALLOWED, "usage: su [-] [USER] [-c COMMAND | PROGRAM ARG...]\n");
		} else if (!user_seen) {
			user_seen = true;
			*id = user_id(argv[at]);
			if (*id < 0)
				fail(NOT_ALLOWED, "su: unknown user\n");
		} else {
			break;
		}
	}
	return at;
}

static void run_shell(char **words)
{
	execv(SHELL_PROGRAM, words);
	fail(NOT_FOUND, "su: no " SHELL_PROGRAM "\n");
}

/* By the shell, because it is what searches PATH. */
static void run_program(char **program)
{
	static char *words[MOST_WORDS];
	static char shell[] = "sh", option[] = "-c", script[] = "exec \"$@\"", name[] = "su";
	size_t count = 0;

	words[count++] = shell;
	words[count++] = option;
	words[count++] = script;
	words[count++] = name;
	for (; *program; program++) {
		if (count + 1 >= COUNT(words))
			fail(NOT_ALLOWED, "su: too many arguments\n");
		words[count++] = *program;
	}
	run_shell(words);
}

int main(int argc, char **argv)
{
	static char shell[] = "sh", login_shell[] = "-sh", option[] = "-c";
	uid_t caller = getuid();
	bool login = false;
	int id = ROOT, at;

	if (caller != ROOT && caller != SHELL)
		fail(NOT_ALLOWED, "su: not allowed\n");
	at = read_options(argc, argv, &id, &login);
	become((uid_t)id);
	if (at == argc)
		run_shell((char *[]){ login ? login_shell : shell, NULL });
	if (!is_command(argv[at]))
		run_program(argv + at);
	if (at + 1 == argc)
		fail(NOT_ALLOWED, "su: -c needs a command\n");
	run_shell((char *[]){ shell, option, join(argv + at + 1), NULL });
}

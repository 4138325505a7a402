// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app.h"

#if defined(__aarch64__)
#define ARCH "aarch64"
#elif defined(__arm__)
#define ARCH "armv7"
#elif defined(__x86_64__)
#define ARCH "x86_64"
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pages and result files are little endian");

/* A single command that a lost host forgot ends by then; no command that anybody waits for takes as long. */
enum { SINGLE_ALARM_S = 1800 };

static bool locked;

int cmd_hello(const struct request *req, struct reply *rep)
{
	char adj[16] = "0";

	(void)req;
	if (read_text("/proc/self/oom_score_adj", adj, sizeof(adj)))
		return reply_fail(rep, errno, "read /proc/self/oom_score_adj");
	reply_u64(rep, "protocol", PROTOCOL);
	reply_text(rep, "arch", ARCH);
	reply_u64(rep, "page_size", page_bytes());
	reply_i64(rep, "pid", getpid());
	reply_u64(rep, "uid", geteuid());
	reply_u64(rep, "locked", locked);
	reply_i64(rep, "oom_score_adj", atoi(adj));
	reply_u64(rep, "monotonic_ns", now_ns(CLOCK_MONOTONIC));
	reply_u64(rep, "realtime_ns", now_ns(CLOCK_REALTIME));
	return 0;
}

/*
 * Under memory pressure of its own making the probe must neither be killed nor wait for its own code to be paged in
 * again. Both need privileges; hello says whether they were granted.
 */
static void protect(void)
{
	write_text("/proc/self/oom_score_adj", "-1000");
	locked = !mlockall(MCL_CURRENT);
}

static int serve_main(int words, char **word, struct reply *rep)
{
	static const struct key keys[] = { { "alarm", KEY_NUMBER, true, NULL }, { 0 } };
	struct request req;

	reply_init(rep, word[0]);
	if (request_parse(&req, words, word, rep) || request_check(&req, keys, rep))
		return -1;
	return serve(&req, rep);
}

int main(int argc, char **argv)
{
	static struct reply reply;

	/* Started by another probe; to be killed and swapped out like any app. */
	if (argc > 1 && !strcmp(argv[1], "app"))
		return app_main(argc, argv);
	protect();
	if (argc > 1 && !strcmp(argv[1], "serve")) {
		serve_main(argc - 1, argv + 1, &reply);
	} else {
		/* A single command has no stdin to tell it that its caller is gone. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(SINGLE_ALARM_S);
		dispatch(argc - 1, argv + 1, &reply);
	}
	if (reply_send(&reply))
		return EXIT_FAILURE;
	return reply.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

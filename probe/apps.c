// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps.h"
#include "ranking.h"
#include "syscalls.h"

enum {
	/* An app that fills its memory on a phone under pressure takes long; one that hangs is ended. */
	ANSWER_MS = 180000,
};

struct app_table apps = { .file = -1, .front = -1 };

int apps_alive(void)
{
	int alive = 0;

	for (int i = 0; i < apps.count; i++)
		alive += apps.app[i].pid != 0;
	return alive;
}

static void forget(struct app_process *app)
{
	close_scoped(&app->socket);
	close_scoped(&app->pidfd);
	app->pid = 0;
}

/* Its connection is closed, so it has ended or is about to. */
static void bury(int number)
{
	struct app_process *app = &apps.app[number];
	int status = 0;

	while (waitpid(app->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (apps.deaths < DEATHS_MAX)
		apps.death[apps.deaths++] = (struct death){
			.t_ns = now_ns(CLOCK_MONOTONIC),
			.app = number,
			.pid = app->pid,
			.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
		};
	forget(app);
}

void apps_watch(uint64_t until_ns)
{
	for (;;) {
		uint64_t now = now_ns(CLOCK_MONOTONIC);
		struct pollfd fds[APPS_MAX];
		int numbers[APPS_MAX], count = 0;

		for (int i = 0; i < apps.count; i++) {
			if (!apps.app[i].pid)
				continue;
			fds[count] = (struct pollfd){ .fd = apps.app[i].socket };
			numbers[count++] = i;
		}
		/* Rounded up, so that the last bit is not spent in a loop. */
		poll(fds, (nfds_t)count, until_ns > now ? (int)((until_ns - now) / 1000000 + 1) : 0);
		for (int i = 0; i < count; i++)
			if (fds[i].revents & (POLLHUP | POLLERR))
				bury(numbers[i]);
		if (now_ns(CLOCK_MONOTONIC) >= until_ns)
			return;
	}
}

int app_ask(int number, const struct app_order *order, struct app_answer *answer, struct reply *rep)
{
	struct app_process *app = &apps.app[number];
	struct pollfd ready = { .fd = app->socket, .events = POLLIN };
	ssize_t n;

	if (send(app->socket, order, sizeof(*order), MSG_NOSIGNAL) != (ssize_t)sizeof(*order)) {
		bury(number);
		return APP_DIED;
	}
	if (poll(&ready, 1, ANSWER_MS) == 0) {
		kill(app->pid, SIGKILL);
		bury(number);
		return reply_fail(rep, ETIMEDOUT, "%s did not answer within %d s", app->name, ANSWER_MS / 1000);
	}
	n = recv(app->socket, answer, sizeof(*answer), 0);
	if (n != (ssize_t)sizeof(*answer)) {
		bury(number);
		return APP_DIED;
	}
	answer->error[APP_ERROR_BYTES - 1] = '\0';
	if (answer->failed)
		return reply_fail(rep, 0, "%s: %s", app->name, answer->error);
	return APP_ANSWERED;
}

static void set_adj(struct app_process *app, int adj)
{
	char path[48], text[16];

	if (app->oom_score_adj == adj)
		return;
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)app->pid);
	snprintf(text, sizeof(text), "%d", adj);
	/* A process that is gone has none; without root the probe's own stays. */
	write_text(path, text);
	app->oom_score_adj = adj;
}

void apps_rank(void)
{
	for (int i = 0; i < apps.count; i++) {
		struct app_process *app = &apps.app[i];
		int later = 0;

		if (!app->pid)
			continue;
		for (int k = 0; k < apps.count; k++)
			later += k != apps.front && apps.app[k].pid && apps.app[k].left_ns > app->left_ns;
		set_adj(app, adj_of(i == apps.front, later));
	}
}

/* Between fork() and execve(): nothing here but system calls, for other threads may hold any lock. */
static _Noreturn void become_app(char *name, char *parent, int socket)
{
	static char task[] = "app";
	char *argv[] = { name, task, parent, NULL }, *envp[] = { NULL };

	if (dup2(socket, APP_SOCKET) >= 0 && dup2(apps.file < 0 ? socket : apps.file, APP_FILE) >= 0)
		execve("/proc/self/exe", argv, envp);
	_exit(127);
}

static int spawn(struct app_process *app, struct reply *rep)
{
	char parent[16];
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return reply_fail(rep, errno, "socketpair");
	snprintf(parent, sizeof(parent), "%d", (int)getpid());
	pid = fork();
	if (!pid)
		become_app(app->name, parent, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		reply_fail(rep, errno, "fork %s", app->name);
		close(pair[0]);
		return -1;
	}
	app->pid = pid;
	app->socket = pair[0];
	app->pidfd = sys_pidfd_open(pid);
	app->compacted = false;
	app->oom_score_adj = -1;
	/* Before it holds memory: it inherits the probe's, which is never killed. */
	set_adj(app, ADJ_FRONT);
	return 0;
}

int app_start(int number, struct reply *rep)
{
	struct app_process *app = &apps.app[number];
	struct app_order order = { .task = APP_SET_UP, .setup = app->setup };
	struct app_answer answer;
	int became;

	if (spawn(app, rep))
		return APP_FAILED;
	became = app_ask(number, &order, &answer, rep);
	if (became == APP_ANSWERED) {
		app->anonymous = answer.anonymous;
		app->file = answer.file;
	}
	return became;
}

/* 0, or an errno when the kernel does not let one process advise about another. */
static int advise(const struct app_process *app, uint64_t base, uint64_t pages)
{
	uint64_t bytes = pages * page_bytes(), done = 0;

	while (done < bytes) {
		struct iovec range = { (void *)(uintptr_t)(base + done), (size_t)(bytes - done) };
		ssize_t n = sys_process_madvise(app->pidfd, &range, MADV_PAGEOUT);

		if (n < 0)
			return errno;
		if (!n)
			break;
		done += (uint64_t)n;
	}
	return 0;
}

static int compact(int number, struct reply *rep)
{
	struct app_process *app = &apps.app[number];
	struct app_order order = { .task = APP_PAGE_OUT };
	struct app_answer answer;
	int error = apps.compacts_itself || app->pidfd < 0 ? ENOSYS : 0;

	if (!error)
		error = advise(app, app->anonymous, app->setup.anonymous_pages);
	if (!error && app->setup.file_pages)
		advise(app, app->file, app->setup.file_pages);
	app->compacted = true;
	apps.compactions++;
	if (!error || error == ESRCH)
		return 0;
	apps.compacts_itself = true;
	return app_ask(number, &order, &answer, rep) == APP_FAILED ? -1 : 0;
}

int apps_compact(struct reply *rep)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC);

	for (int i = 0; i < apps.count; i++) {
		const struct app_process *app = &apps.app[i];

		if (app->pid && !app->compacted && app->oom_score_adj >= ADJ_CACHED &&
		    now - app->left_ns >= apps.compact_ns && compact(i, rep))
			return -1;
	}
	return 0;
}

/* A file that nobody finds: it goes with the last process that maps it. */
static int make_file(const char *folder, uint64_t pages, uint64_t seed, const struct mix *mix, struct reply *rep)
{
	char path[PATH_BYTES];
	SCOPED_BUFFER page = { 0 };
	SCOPED_FD fd = -1;

	if (buffer_make(&page, 1, page_bytes(), rep))
		return -1;
	if (snprintf(path, sizeof(path), "%s/apps.%d", folder, (int)getpid()) >= (int)sizeof(path))
		return reply_fail(rep, ENAMETOOLONG, "folder=%s", folder);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return reply_fail(rep, errno, "create %s", path);
	unlink(path);
	for (uint64_t i = 0; i < pages; i++) {
		content_make(mix, seed, i, page.data, page_bytes());
		if (pwrite(fd, page.data, page_bytes(), (off_t)(i * page_bytes())) != (ssize_t)page_bytes())
			return reply_fail(rep, errno, "write page %llu of %llu to %s", (unsigned long long)i,
					  (unsigned long long)pages, path);
	}
	/* Out of the page cache, as the code of an app that was not used for long. */
	if (fsync(fd))
		return reply_fail(rep, errno, "sync %s", path);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	apps.file = fd;
	fd = -1;
	return 0;
}

static uint64_t pages_of(const struct request *req, const char *key)
{
	return arg_number(req, key, 0) / page_bytes();
}

/* What all apps have in common. */
static int read_setup(struct app_setup *setup, const struct request *req, struct reply *rep)
{
	uint64_t anonymous = pages_of(req, "anonymous"), file = pages_of(req, "file_backed");
	uint64_t working = pages_of(req, "working_set"), most = SIZE_MAX / page_bytes();
	const char *mix = arg_text(req, "mix", "");

	if (!working || working > anonymous)
		return reply_fail(rep, 0, "working_set: expected a page at least, and not more than anonymous");
	if (anonymous > UINT32_MAX || file > UINT32_MAX || anonymous > most || file > most)
		return reply_fail(rep, 0, "more memory than a process of this phone can hold");
	if (strlen(mix) >= APP_MIX_BYTES)
		return reply_fail(rep, 0, "mix: longer than %d characters", APP_MIX_BYTES - 1);
	*setup = (struct app_setup){
		.anonymous_pages = (size_t)anonymous,
		.file_pages = (size_t)file,
		.working_pages = (size_t)working,
		.file_seed = arg_number(req, "seed", 0),
		.random = !strcmp(arg_text(req, "order", "random"), "random"),
	};
	strcpy(setup->mix, mix);
	return 0;
}

int cmd_apps_make(const struct request *req, struct reply *rep)
{
	uint64_t count = arg_number(req, "count", 0);
	struct app_setup setup;
	struct mix mix;

	if (apps.count)
		return reply_fail(rep, EEXIST, "there are %d apps already", apps.count);
	if (!count || count > APPS_MAX)
		return reply_fail(rep, 0, "count=%llu: expected 1 to %d", (unsigned long long)count, APPS_MAX);
	if (read_setup(&setup, req, rep) || mix_parse(&mix, setup.mix, rep))
		return -1;
	if (setup.file_pages &&
	    make_file(arg_text(req, "folder", "."), count * setup.file_pages, setup.file_seed, &mix, rep))
		return -1;
	for (uint64_t i = 0; i < count; i++) {
		struct app_process *app = &apps.app[i];

		*app = (struct app_process){ .socket = -1, .pidfd = -1, .setup = setup };
		app->setup.file_first = i * setup.file_pages;
		app->setup.seed = setup.file_seed + i + 1;
		snprintf(app->name, sizeof(app->name), "zwb.app%02u", (unsigned int)i + 1);
	}
	apps.compact_ns = arg_number(req, "compact_ms", 0) * 1000000;
	apps.count = (int)count;
	reply_u64(rep, "apps", count);
	reply_u64(rep, "file_bytes", count * setup.file_pages * page_bytes());
	return 0;
}

int cmd_apps_end(const struct request *req, struct reply *rep)
{
	int ended = 0;

	(void)req;
	for (int i = 0; i < apps.count; i++) {
		struct app_process *app = &apps.app[i];

		if (!app->pid)
			continue;
		kill(app->pid, SIGKILL);
		while (waitpid(app->pid, NULL, 0) < 0 && errno == EINTR)
			;
		forget(app);
		ended++;
	}
	close_scoped(&apps.file);
	memset(&apps, 0, sizeof(apps));
	apps.file = apps.front = -1;
	reply_i64(rep, "ended", ended);
	return 0;
}

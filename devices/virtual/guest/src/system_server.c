// SPDX-License-Identifier: Apache-2.0
// system_server: keeps the apps as Android's activity manager does. It starts their processes, ranks them by
// oom_score_adj, and freezes and compacts what has been in the background for debug.lab.freeze_after_s seconds.
#include "dump.h"
#include "starting.h"

#define PACKAGES "/system/etc/packages"
#define FREEZE_AFTER "/dev/__properties__/shell/debug.lab.freeze_after_s"
#define FREEZER_SETTING "/data/system/settings/global/cached_apps_freezer"
#define COMPACTION_FLAG "/data/system/device_config/activity_manager/use_compaction"

enum {
	FREEZE_AFTER_S = 10,
	BACKLOG = 16,
	SHELL = 2000,
	SOCKET_MODE = 0660,
	SIGPIPE_BIT = 1 << 12,
	POLL_IN = 1,
	TICK_MS = 500,
	FAST_TICK_MS = 50
};

struct poll_entry {
	int fd;
	short events, got;
};

static const char *take_word(const char *at, char *into)
{
	int used = 0;
	for (; *at > ' '; at++) {
		if (used + 1 < NAME_ROOM)
			into[used++] = *at;
	}
	into[used] = 0;
	while (*at == ' ')
		at++;
	return at;
}

static void read_packages(void)
{
	static char list[16 * 1024];
	char word[NAME_ROOM];
	if (read_file(PACKAGES, list, sizeof list) < 0)
		fail("system_server: no " PACKAGES "\n", 1);
	for (const char *at = list; at && *at && app_count < MAX_APPS; at = find(at, "\n"), at += at != 0) {
		if (*at == '#' || *at == '\n')
			continue;
		struct app *app = &apps[app_count++];
		at = take_word(take_word(at, app->package), app->activity);
		long *pages[] = { &app->launch.anonymous_pages, &app->launch.file_pages, &app->launch.working_pages };
		for (int i = 0; i < 3; i++) {
			at = take_word(at, word);
			*pages[i] = number(word) * PAGES_PER_MIB;
		}
		app->launch.crashes = *at == 'c';
		app->launchable = app->activity[0] != '-';
		app->uid = FIRST_UID + app_count;
	}
}

static struct app *process_named(struct call *call)
{
	const char *word = next_word(call);
	if (word && same(word, "--sticky"))
		word = next_word(call);
	struct app *app = word ? app_with_pid(number(word)) : 0;
	if (!app && word)
		app = app_named(word);
	if (app && app->pid)
		return app;
	answer_line(call, call->err, FAILED, "Error: could not find process", "");
	return 0;
}

static void freeze_command(struct call *call, int on)
{
	int sticky = call->words[call->at] && same(call->words[call->at], "--sticky");
	struct app *app = process_named(call);
	struct text text = { 0 };
	if (!app)
		return;
	put(put(put(&text, on ? "Freezing process " : "Unfreezing process "), app->package), " (");
	put(put(put_number(&text, app->pid), ") sticky="), sticky ? "true" : "false");
	if (on)
		freeze(app);
	else
		thaw(app);
	app->sticky = sticky;
	app->left_front_ms = clock_ms(CLOCK_MONOTONIC);
	answer_line(call, call->out, 0, text.is, "");
}

static void compact_command(struct call *call)
{
	const char *how = next_word(call);
	if (!how || (!same(how, "full") && !same(how, "some"))) {
		return answer_line(call, call->err, FAILED, "Error: unknown compact command ", how ? how : "");
	}
	struct app *app = process_named(call);
	struct text text = { 0 };
	if (!app)
		return;
	app->to_compact = 1;
	put_number(put(&text, "Process record found pid: "), app->pid);
	put_number(put(put(put(&text, "\nExecuting "), how), " compaction for "), app->pid);
	put_number(put(put(put(&text, "\nFinished "), how), " compaction for "), app->pid);
	answer_line(call, call->out, 0, text.is, "");
}

// force-stop ends whatever there is, kill only what is in the background.
static void stop_command(struct call *call, int forced)
{
	const char *package = next_word(call);
	if (package && same(package, "--user"))
		package = next_word(call) ? next_word(call) : 0;
	if (!package)
		return answer_exception(call, "Argument expected after \"", call->words[0]);
	struct app *app = app_named(package);
	if (app && forced)
		force_stop(call, app);
	else if (app && app != front)
		stop_package(app, EXIT_OTHER, "kill background");
	answer(call, 0);
}

static void kill_all(struct call *call)
{
	for (struct app *app = apps; app < apps + app_count; app++) {
		if (app != front)
			stop_package(app, EXIT_OTHER, "kill all background");
	}
	answer(call, 0);
}

// lmkd says whom it is about to kill, so that the death is known for what it is.
static void note_low_memory_kill(struct call *call)
{
	const char *pid = next_word(call);
	struct app *app = pid ? app_with_pid(number(pid)) : 0;
	if (app)
		app->killed_for = EXIT_LOW_MEMORY, app->rss_before_kib = rss_kib(app->pid);
	answer(call, 0);
}

static void serve(struct call *call)
{
	const char *verb = next_word(call);
	if (same(verb, "start") || same(verb, "start-activity"))
		start_activity(call);
	else if (same(verb, "force-stop"))
		stop_command(call, 1);
	else if (same(verb, "kill"))
		stop_command(call, 0);
	else if (same(verb, "kill-all"))
		kill_all(call);
	else if (same(verb, "freeze"))
		freeze_command(call, 1);
	else if (same(verb, "unfreeze"))
		freeze_command(call, 0);
	else if (same(verb, "compact"))
		compact_command(call);
	else if (same(verb, "get-current-user"))
		answer_line(call, call->out, 0, "0", "");
	else if (same(verb, "dump"))
		dump(call);
	else if (same(verb, "lmkd-kill"))
		note_low_memory_kill(call);
	else
		answer_line(call, call->err, FAILED, "Unknown command: ", verb);
}

static int says(const char *path, const char *word)
{
	char content[64];
	return read_file(path, content, sizeof content) > 0 && find(content, word) == content;
}

// How long until the next app is to be frozen may change at any time, so the property is read at each tick.
static long freeze_after_ms(void)
{
	char value[32];
	return read_file(FREEZE_AFTER, value, sizeof value) > 1 ? leading_number(value) * 1000 : FREEZE_AFTER_S * 1000L;
}

static void look_after_background(void)
{
	long now = clock_ms(CLOCK_MONOTONIC), after = freeze_after_ms();
	int freezer = !says(FREEZER_SETTING, "disabled"), compaction = !says(COMPACTION_FLAG, "false");
	for (struct app *app = apps; app < apps + app_count; app++) {
		if (!app->pid || app == front || app->frozen || now - app->left_front_ms < after)
			continue;
		if (freezer && !app->sticky)
			freeze(app);
		app->to_compact &= compaction;
	}
	compact_next();
}

static int next_tick_ms(void)
{
	int tick = -1;
	if (compacting())
		return FAST_TICK_MS;
	for (const struct app *app = apps; app < apps + app_count; app++) {
		if (app->pid && app != front && (!app->frozen || app->to_compact))
			tick = TICK_MS;
	}
	for (const struct call *call = calls; call < calls + MAX_CALLS; call++) {
		if (call->used)
			tick = TICK_MS;
	}
	return tick;
}

// An app's process says that it has drawn, or its socket ends because it is dead.
static void hear(struct app *app)
{
	char word;
	if (KERNEL(SYS_read, app->socket, &word, 1) == 1) {
		// One that was brought back several times answers each time; the last answer is the one that counts.
		if (--app->to_draw == 0)
			finish_starts(app, 1);
		return;
	}
	bury(app);
	finish_starts(app, 0);
}

static void run(long listener)
{
	for (;;) {
		struct poll_entry entries[MAX_APPS + 1] = { { (int)listener, POLL_IN, 0 } };
		for (int i = 0; i < app_count; i++) {
			entries[i + 1] = (struct poll_entry){ apps[i].pid ? apps[i].socket : -1, POLL_IN, 0 };
		}
		KERNEL(SYS_poll, entries, app_count + 1, next_tick_ms());
		// lmkd's word about a death comes before the death.
		if (entries[0].got) {
			struct call *call = take_call(listener);
			if (call)
				serve(call);
		}
		for (int i = 0; i < app_count; i++) {
			if (entries[i + 1].got && apps[i].pid && apps[i].socket == entries[i + 1].fd)
				hear(&apps[i]);
		}
		reap_compactors();
		give_up_late_starts();
		look_after_background();
	}
}

static long open_socket(void)
{
	struct address address = activity_address();
	KERNEL(SYS_unlink, ACTIVITY_SOCKET, 0, 0);
	long listener = KERNEL(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (KERNEL(SYS_bind, listener, &address, sizeof address) || KERNEL(SYS_chown, ACTIVITY_SOCKET, 0, SHELL) ||
	    KERNEL(SYS_chmod, ACTIVITY_SOCKET, SOCKET_MODE, 0) || KERNEL(SYS_listen, listener, BACKLOG, 0))
		fail("system_server: no socket\n", 1);
	return listener;
}

_Noreturn void start(int argc, char **argv, char **environment)
{
	(void)argc, (void)environment;
	own_name = argv[0];
	unsigned long blocked = SIGPIPE_BIT;
	kernel(SYS_rt_sigprocmask, 0, (long)&blocked, 0, sizeof blocked, 0, 0);
	read_packages();
	// Apps do not outlive system_server, as on Android.
	write_file(CGROUP "/cgroup.kill", "1");
	KERNEL(SYS_mkdir, CGROUP, FOLDER_MODE, 0);
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	write_file(CGROUP "/cgroup.subtree_control", "+memory");
	run(open_socket());
	leave(0);
}

// SPDX-License-Identifier: Apache-2.0
#include "commands.h"
#include "dump.h"
#include "starting.h"

static bool is_next(const struct call *call, const char *word)
{
	return call->words[call->at] && same(call->words[call->at], word);
}

/* An app that runs, by its package or its pid; NULL when there is none, which is answered. */
static struct app *process_named(struct call *call)
{
	const char *word = next_word(call);
	struct app *app = NULL;

	if (word) {
		app = app_with_pid(parse_number(word));
		if (!app)
			app = app_named(word);
	}
	if (app && app->pid)
		return app;
	answer_line(call, call->err, FAILED, "Error: could not find process");
	return NULL;
}

static void freeze_or_thaw(struct call *call, bool on)
{
	bool sticky = is_next(call, "--sticky");
	struct app *app;

	if (sticky)
		next_word(call);
	app = process_named(call);
	if (!app)
		return;
	if (on)
		freeze(app);
	else
		thaw(app);
	app->sticky = sticky;
	app->left_front_ms = clock_ms(CLOCK_MONOTONIC);
	answer_line(call, call->out, 0, "%s process %s (%d) sticky=%s", on ? "Freezing" : "Unfreezing", app->package,
		    (int)app->pid, sticky ? "true" : "false");
}

static void freeze_command(struct call *call)
{
	freeze_or_thaw(call, true);
}

static void thaw_command(struct call *call)
{
	freeze_or_thaw(call, false);
}

static void compact_command(struct call *call)
{
	const char *how = next_word(call);
	struct app *app;

	if (!how || (!same(how, "full") && !same(how, "some"))) {
		answer_line(call, call->err, FAILED, "Error: unknown compact command %s", how ? how : "");
		return;
	}
	app = process_named(call);
	if (!app)
		return;
	app->to_compact = true;
	answer_line(call, call->out, 0,
		    "Process record found pid: %d\nExecuting %s compaction for %d\nFinished %s compaction for %d",
		    (int)app->pid, how, (int)app->pid, how, (int)app->pid);
}

/* The app that a stop names, if it is one; false when no package was named, which is answered. */
static bool named_to_stop(struct call *call, struct app **app)
{
	const char *package = next_word(call);

	if (package && same(package, "--user"))
		package = next_word(call) ? next_word(call) : NULL;
	if (!package) {
		answer_exception(call, "Argument expected after \"", call->words[0]);
		return false;
	}
	*app = app_named(package);
	return true;
}

/* Ends whatever there is. */
static void force_stop_command(struct call *call)
{
	struct app *app;

	if (!named_to_stop(call, &app))
		return;
	if (app)
		force_stop(call, app);
	answer(call, 0);
}

/* Ends only what is in the background. */
static void kill_command(struct call *call)
{
	struct app *app;

	if (!named_to_stop(call, &app))
		return;
	if (app && app != front)
		stop_package(app, EXIT_OTHER, "kill background");
	answer(call, 0);
}

static void kill_all(struct call *call)
{
	for_each_app(app)
		if (app != front)
			stop_package(app, EXIT_OTHER, "kill all background");
	answer(call, 0);
}

static void tell_user(struct call *call)
{
	answer_line(call, call->out, 0, "0");
}

/* lmkd says whom it is about to kill, so that the death is known for what it is. */
static void note_low_memory_kill(struct call *call)
{
	const char *pid = next_word(call);
	struct app *app = pid ? app_with_pid(parse_number(pid)) : NULL;

	if (app) {
		app->killed_for = EXIT_LOW_MEMORY;
		app->rss_before_kib = rss_kib(app->pid);
	}
	answer(call, 0);
}

static const struct {
	const char *verb;
	void (*run)(struct call *call);
} commands[] = {
	{ "start", start_activity },
	{ "start-activity", start_activity },
	{ "force-stop", force_stop_command },
	{ "kill", kill_command },
	{ "kill-all", kill_all },
	{ "freeze", freeze_command },
	{ "unfreeze", thaw_command },
	{ "compact", compact_command },
	{ "get-current-user", tell_user },
	{ "dump", dump },
	{ "lmkd-kill", note_low_memory_kill },
};

void serve(struct call *call)
{
	const char *verb = next_word(call);

	for (size_t i = 0; i < COUNT(commands); i++) {
		if (same(verb, commands[i].verb)) {
			commands[i].run(call);
			return;
		}
	}
	answer_line(call, call->err, FAILED, "Unknown command: %s", verb);
}

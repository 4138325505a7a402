/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe: what has to happen on the phone itself, because a cable is too slow or because only a process of the
 * phone can do it. README.md describes the protocol.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basics.h"

enum {
	PROTOCOL = 1,
	/* zram's counters and limits are in these units on every page size. */
	ZRAM_UNIT = 4096,
	LINE_BYTES = 4096,
	PATH_BYTES = 512,
};

/* reply.c: the one line of JSON that answers a command. */

struct reply {
	const char *command;
	bool failed;
	bool overflow;
	int errnum;
	size_t used;
	char error[1024];
	char fields[16384];
};

void reply_init(struct reply *rep, const char *command);
void reply_u64(struct reply *rep, const char *key, uint64_t value);
void reply_i64(struct reply *rep, const char *key, int64_t value);
void reply_text(struct reply *rep, const char *key, const char *value);
void reply_null(struct reply *rep, const char *key);
/* Nesting: kind is '{' or '['; inside an array the key is NULL. */
void reply_open(struct reply *rep, const char *key, char kind);
void reply_close(struct reply *rep, char kind);
/* Records the first failure, keeps the fields so far; errnum is 0 when the kernel is not the one who refused. */
int reply_fail(struct reply *rep, int errnum, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* 0 once the whole line is written, else -1. */
int reply_send(struct reply *rep);
/* The symbol, such as "EBUSY"; "" for 0. */
const char *errno_name(int errnum);

/* request.c: CMD key=value ... */

enum key_kind { KEY_TEXT, KEY_NUMBER, KEY_FLAG };

struct key {
	const char *name;
	enum key_kind kind;
	bool required;
	const char *choices; /* "random|sequential", or NULL for any text */
};

struct arg {
	const char *name;
	const char *text;
	uint64_t number;
};

struct request {
	const char *name;
	int count;
	struct arg args[16];
};

struct command {
	const char *name;
	int (*run)(const struct request *req, struct reply *rep);
	const struct key *keys; /* ends with an empty one */
};

/* Runs one command and fills rep; the words are changed in place. */
int dispatch(int words, char **word, struct reply *rep);
int request_parse(struct request *req, int words, char **word, struct reply *rep);
int request_check(struct request *req, const struct key *keys, struct reply *rep);
bool arg_given(const struct request *req, const char *name);
uint64_t arg_number(const struct request *req, const char *name, uint64_t otherwise);
const char *arg_text(const struct request *req, const char *name, const char *otherwise);

/* commands.c: the table that a new command is added to; ends with an empty entry. */
extern const struct command commands[];

int cmd_hello(const struct request *req, struct reply *rep);
int cmd_describe(const struct request *req, struct reply *rep);
int cmd_overhead(const struct request *req, struct reply *rep);
int cmd_loop_attach(const struct request *req, struct reply *rep);
int cmd_loop_detach(const struct request *req, struct reply *rep);
int cmd_mapped_attach(const struct request *req, struct reply *rep);
int cmd_mapped_detach(const struct request *req, struct reply *rep);
int cmd_dm_below(const struct request *req, struct reply *rep);
int cmd_fill_area(const struct request *req, struct reply *rep);
int cmd_fill_device(const struct request *req, struct reply *rep);
int cmd_verify_area(const struct request *req, struct reply *rep);
int cmd_verify_device(const struct request *req, struct reply *rep);
int cmd_corrupt_area(const struct request *req, struct reply *rep);
int cmd_corrupt_device(const struct request *req, struct reply *rep);
int cmd_free_device(const struct request *req, struct reply *rep);
int cmd_drop(const struct request *req, struct reply *rep);
int cmd_pageout(const struct request *req, struct reply *rep);
int cmd_slots(const struct request *req, struct reply *rep);
int cmd_writeback(const struct request *req, struct reply *rep);
int cmd_write_timed(const struct request *req, struct reply *rep);
int cmd_touch(const struct request *req, struct reply *rep);
int cmd_reads(const struct request *req, struct reply *rep);
int cmd_race(const struct request *req, struct reply *rep);
int cmd_hammer_path(const struct request *req, struct reply *rep);
int cmd_hammer_area(const struct request *req, struct reply *rep);
int cmd_poke(const struct request *req, struct reply *rep);
int cmd_meanwhile(const struct request *req, struct reply *rep);
int cmd_blocks(const struct request *req, struct reply *rep);
int cmd_fs_shutdown(const struct request *req, struct reply *rep);
int cmd_load_start(const struct request *req, struct reply *rep);
int cmd_load_stop(const struct request *req, struct reply *rep);
int cmd_extents(const struct request *req, struct reply *rep);
int cmd_control(const struct request *req, struct reply *rep);
int cmd_kworkers(const struct request *req, struct reply *rep);
int cmd_renice(const struct request *req, struct reply *rep);
int cmd_apps_make(const struct request *req, struct reply *rep);
int cmd_apps_switch(const struct request *req, struct reply *rep);
int cmd_apps_end(const struct request *req, struct reply *rep);
int cmd_sample_start(const struct request *req, struct reply *rep);
int cmd_sample_stop(const struct request *req, struct reply *rep);
int cmd_daemon_start(const struct request *req, struct reply *rep);
int cmd_daemon_stop(const struct request *req, struct reply *rep);
int cmd_daemon_front(const struct request *req, struct reply *rep);
int cmd_daemon_pause(const struct request *req, struct reply *rep);

/* serve.c */
int serve(const struct request *req, struct reply *rep);

#endif

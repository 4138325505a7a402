// SPDX-License-Identifier: Apache-2.0
/* Splits "CMD key=value ..." and checks it against the table before any command runs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "system.h"

static const struct arg *find(const struct request *req, const char *name)
{
	for (int i = 0; i < req->count; i++)
		if (!strcmp(req->args[i].name, name))
			return &req->args[i];
	return NULL;
}

bool arg_given(const struct request *req, const char *name)
{
	return find(req, name) != NULL;
}

uint64_t arg_number(const struct request *req, const char *name, uint64_t otherwise)
{
	const struct arg *arg = find(req, name);

	return arg ? arg->number : otherwise;
}

const char *arg_text(const struct request *req, const char *name, const char *otherwise)
{
	const struct arg *arg = find(req, name);

	return arg ? arg->text : otherwise;
}

int request_parse(struct request *req, int words, char **word, struct reply *rep)
{
	req->name = word[0];
	req->count = 0;
	for (int i = 1; i < words; i++) {
		char *equals = strchr(word[i], '=');

		if (!equals || equals == word[i])
			return reply_fail(rep, 0, "%s: not of the form key=value", word[i]);
		*equals = '\0';
		if (find(req, word[i]))
			return reply_fail(rep, 0, "%s: given twice", word[i]);
		if (req->count == (int)(COUNT(req->args)))
			return reply_fail(rep, 0, "%s: more keys than any command has", word[i]);
		req->args[req->count++] = (struct arg){ .name = word[i], .text = equals + 1 };
	}
	return 0;
}

/* Decimal digits only: strtoull alone would take signs, blanks and hexadecimal. */
static bool parse_number(const char *text, uint64_t *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return !errno && !*end;
}

static bool is_choice(const char *choices, const char *text)
{
	size_t length = strlen(text);

	while (*choices) {
		size_t n = strcspn(choices, "|");

		if (n == length && !strncmp(choices, text, n))
			return true;
		choices += n + (choices[n] == '|');
	}
	return false;
}

static int check_value(struct arg *arg, const struct key *key, struct reply *rep)
{
	if (key->kind == KEY_TEXT) {
		if (!*arg->text)
			return reply_fail(rep, 0, "%s: empty", arg->name);
		if (key->choices && !is_choice(key->choices, arg->text))
			return reply_fail(rep, 0, "%s=%s: expected %s", arg->name, arg->text, key->choices);
		return 0;
	}
	if (!parse_number(arg->text, &arg->number))
		return reply_fail(rep, 0, "%s=%s: expected a whole decimal number", arg->name, arg->text);
	if (key->kind == KEY_FLAG && arg->number > 1)
		return reply_fail(rep, 0, "%s=%s: expected 0|1", arg->name, arg->text);
	return 0;
}

int request_check(struct request *req, const struct key *keys, struct reply *rep)
{
	for (int i = 0; i < req->count; i++) {
		const struct key *key = keys;

		while (key->name && strcmp(key->name, req->args[i].name))
			key++;
		if (!key->name)
			return reply_fail(rep, 0, "%s: unknown key", req->args[i].name);
		if (check_value(&req->args[i], key, rep))
			return -1;
	}
	for (const struct key *key = keys; key->name; key++)
		if (key->required && !arg_given(req, key->name))
			return reply_fail(rep, 0, "%s: missing key", key->name);
	return 0;
}

/*
 * A command may have several forms, such as fill for memory and fill for a device. They are rows of the same name,
 * told apart by their first key.
 */
static const struct command *choose(const struct request *req, struct reply *rep)
{
	const struct command *first = NULL;
	int forms = 0;

	for (const struct command *cmd = commands; cmd->name; cmd++) {
		if (strcmp(cmd->name, req->name))
			continue;
		if (cmd->keys->name && arg_given(req, cmd->keys->name))
			return cmd;
		if (!forms++)
			first = cmd;
	}
	if (forms == 1)
		return first;
	if (forms)
		reply_fail(rep, 0, "missing key: %s= or %s=", first->keys->name, first[1].keys->name);
	else
		reply_fail(rep, 0, "unknown command");
	return NULL;
}

int dispatch(int words, char **word, struct reply *rep)
{
	uint64_t start = now_ns(CLOCK_MONOTONIC);
	const struct command *cmd;
	struct request req;
	int error;

	reply_init(rep, words ? word[0] : NULL);
	if (!words)
		return reply_fail(rep, 0, "empty command");
	if (request_parse(&req, words, word, rep))
		return -1;
	cmd = choose(&req, rep);
	if (!cmd || request_check(&req, cmd->keys, rep))
		return -1;
	error = cmd->run(&req, rep);
	reply_u64(rep, "took_ns", now_ns(CLOCK_MONOTONIC) - start);
	return error;
}

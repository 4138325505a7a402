// SPDX-License-Identifier: Apache-2.0
/* Builds the JSON line of an answer in a fixed buffer: no allocation between a measurement and its report. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

void reply_init(struct reply *rep, const char *command)
{
	rep->command = command;
	rep->failed = false;
	rep->overflow = false;
	rep->errnum = 0;
	rep->used = 0;
	rep->error[0] = '\0';
	rep->fields[0] = '\0';
}

static void append(struct reply *rep, const char *text, size_t length)
{
	if (rep->used + length >= sizeof(rep->fields)) {
		rep->overflow = true;
		return;
	}
	memcpy(rep->fields + rep->used, text, length);
	rep->used += length;
	rep->fields[rep->used] = '\0';
}

/* JSON string of text; bytes outside ASCII are escaped one by one, so that the line is valid whatever they are. */
static size_t quote(const char *text, char *out, size_t room)
{
	size_t n = 0;

	out[n++] = '"';
	for (; *text && n + 8 < room; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c >= 0x7f)
			n += (size_t)snprintf(out + n, room - n, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			n += (size_t)snprintf(out + n, room - n, "\\%c", c);
		else
			out[n++] = (char)c;
	}
	out[n++] = '"';
	out[n] = '\0';
	return n;
}

static void begin(struct reply *rep, const char *key)
{
	char last = rep->used ? rep->fields[rep->used - 1] : '{';

	if (last != '{' && last != '[')
		append(rep, ",", 1);
	if (key) {
		append(rep, "\"", 1);
		append(rep, key, strlen(key));
		append(rep, "\":", 2);
	}
}

void reply_u64(struct reply *rep, const char *key, uint64_t value)
{
	char text[24];

	begin(rep, key);
	append(rep, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, value));
}

void reply_i64(struct reply *rep, const char *key, int64_t value)
{
	char text[24];

	begin(rep, key);
	append(rep, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, value));
}

void reply_text(struct reply *rep, const char *key, const char *value)
{
	char text[2048];

	begin(rep, key);
	append(rep, text, quote(value, text, sizeof(text)));
}

void reply_null(struct reply *rep, const char *key)
{
	begin(rep, key);
	append(rep, "null", 4);
}

void reply_open(struct reply *rep, const char *key, char kind)
{
	begin(rep, key);
	append(rep, &kind, 1);
}

void reply_close(struct reply *rep, char kind)
{
	append(rep, kind == '{' ? "}" : "]", 1);
}

int reply_fail(struct reply *rep, int errnum, const char *format, ...)
{
	size_t n = 0;
	va_list args;

	if (rep->failed)
		return -1;
	rep->failed = true;
	rep->errnum = errnum;
	if (rep->command)
		n = (size_t)snprintf(rep->error, sizeof(rep->error), "%.64s: ", rep->command);
	va_start(args, format);
	vsnprintf(rep->error + n, sizeof(rep->error) - n, format, args);
	va_end(args);
	n = strlen(rep->error);
	if (errnum)
		snprintf(rep->error + n, sizeof(rep->error) - n, ": %s", strerror(errnum));
	return -1;
}

static int write_all(const char *text, size_t length)
{
	while (length) {
		ssize_t n = write(STDOUT_FILENO, text, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		text += n;
		length -= (size_t)n;
	}
	return 0;
}

int reply_send(struct reply *rep)
{
	static char line[sizeof(rep->fields) + 4096];
	char error[3072];
	const char *comma;
	int n;

	if (rep->overflow) {
		rep->used = 0;
		rep->fields[0] = '\0';
		reply_fail(rep, 0, "the answer is longer than %zu bytes", sizeof(rep->fields));
	}
	comma = rep->used ? "," : "";
	if (rep->failed) {
		quote(rep->error, error, sizeof(error));
		n = snprintf(line, sizeof(line), "{\"ok\":false,\"errno\":\"%s\",\"error\":%s%s%s}\n",
			     errno_name(rep->errnum), error, comma, rep->fields);
	} else {
		n = snprintf(line, sizeof(line), "{\"ok\":true%s%s}\n", comma, rep->fields);
	}
	return write_all(line, (size_t)n);
}

const char *errno_name(int errnum)
{
#define NAME(e) [e] = #e
	static const char *const names[] = {
		NAME(EPERM),  NAME(ENOENT), NAME(EINTR),     NAME(EIO),	      NAME(ENXIO),	  NAME(E2BIG),
		NAME(EBADF),  NAME(EAGAIN), NAME(ENOMEM),    NAME(EACCES),    NAME(EFAULT),	  NAME(ENOTBLK),
		NAME(EBUSY),  NAME(EEXIST), NAME(EXDEV),     NAME(ENODEV),    NAME(ENOTDIR),	  NAME(EISDIR),
		NAME(EINVAL), NAME(ENFILE), NAME(EMFILE),    NAME(ENOTTY),    NAME(ETXTBSY),	  NAME(EFBIG),
		NAME(ENOSPC), NAME(ESPIPE), NAME(EROFS),     NAME(EPIPE),     NAME(ERANGE),	  NAME(EDEADLK),
		NAME(ENOSYS), NAME(ELOOP),  NAME(ENODATA),   NAME(EOVERFLOW), NAME(EOPNOTSUPP),	  NAME(ETIMEDOUT),
		NAME(ESTALE), NAME(EDQUOT), NAME(ECANCELED), NAME(EREMOTEIO), NAME(ENAMETOOLONG), NAME(EHWPOISON),
	};
#undef NAME
	static char other[16];

	if (!errnum)
		return "";
	if (errnum > 0 && (size_t)errnum < COUNT(names) && names[errnum])
		return names[errnum];
	snprintf(other, sizeof(other), "E%d", errnum);
	return other;
}

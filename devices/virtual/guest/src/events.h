/* SPDX-License-Identifier: Apache-2.0 */
/* The event log: a line per event, which logcat reads and formats: seconds.milliseconds pid tag [field,field,...]. */
#ifndef GUEST_EVENTS_H
#define GUEST_EVENTS_H

void log_event(const char *tag, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

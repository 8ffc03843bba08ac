/* A libnvidia-ml.so.1 that plays a script instead of asking a GPU.
 *
 * The script is a text file named by RESMON_NVML_SCRIPT; it is read again whenever it was replaced. Every line is
 * "key values..."; a "gpu UUID" line opens a GPU, a "slice UUID" line opens a MIG slice of the last GPU, and the keys
 * below them belong to the last one opened. tests/driver/script.py writes it and documents the keys.
 * Time 0 is the "epoch" line on CLOCK_MONOTONIC, so that every process that plays one script sees the same counters.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_DEVICES 128
#define MAX_POINTS 128
#define MAX_RULES 32
#define MAX_PROCESSES 64
#define MAX_COUNTS 128
#define NOT_AVAILABLE 0xffffffffffffffffULL

enum { OK = 0, UNINITIALIZED = 1, BAD_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, LOST = 15 };

typedef struct { char kind; int n; double v[2 * MAX_POINTS]; } Profile;
typedef struct { char function[64]; int code; double seconds, from, to; } Rule;
typedef struct { int rule_count; Rule rules[MAX_RULES]; } Rules;
typedef struct { unsigned pid; unsigned long long bytes; char kind; } Process;
typedef struct {
    char uuid[96], name[96];
    int parent, slice_index, gpu_instance, compute_instance, mig, major, minor;
    unsigned long long memory_total, memory_reserved;
    Profile power, module_power, utilization, memory_used, temperature, clock, throttle;
    double limit_w, tau_s, jitter_s, offset_j, wrap_j, reload_s, stuck_s, moves_s, energy_gain, power_gain, power_update_s, power_window_s;
    int energy_module;
    int process_count;
    Process processes[MAX_PROCESSES];
    Rules rules;
} Device;
typedef struct { char function[64]; int device; unsigned long long calls; } Count;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Device devices[MAX_DEVICES];
static int device_count, loaded, initialized;
static Rules system_rules;
static char driver_version[80];
static double epoch, initialized_at;
static struct timespec script_time;
static ino_t script_inode;
static Count counts[MAX_COUNTS];
static int count_count;

static double monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* ---- the script ---- */

static Profile profile(const char *text) {
    Profile p = {.kind = text[0]};
    const char *at = strchr(text, ' ');
    char *end;
    while (at && p.n < 2 * MAX_POINTS) {
        double v = strtod(at, &end);
        if (end == at) break;
        p.v[p.n++] = v;
        at = end;
    }
    return p;
}

static Profile constant(double v) { return (Profile){.kind = 'c', .n = 1, .v = {v}}; }

static void add_rule(Rules *rules, const char *text, int hang) {
    if (rules->rule_count == MAX_RULES) return;
    Rule *r = &rules->rules[rules->rule_count];
    *r = (Rule){.to = INFINITY};
    double value = 0;
    if (sscanf(text, "%63s %lf %lf %lf", r->function, &value, &r->from, &r->to) < 2) return;
    if (hang) r->seconds = value; else r->code = (int)value;
    rules->rule_count++;
}

/* The process that uses the GPUs; the one that reads them may be another. */
static unsigned self_pid(void) {
    const char *told = getenv("RESMON_NVML_SELF");
    return told ? (unsigned)strtoul(told, NULL, 10) : (unsigned)getpid();
}

static void set(Device *d, const char *key, const char *value) {
    double number = strtod(value, NULL);
    if (!strcmp(key, "name")) snprintf(d->name, sizeof d->name, "%s", value);
    else if (!strcmp(key, "instance")) sscanf(value, "%d %d", &d->gpu_instance, &d->compute_instance);
    else if (!strcmp(key, "mig")) d->mig = (int)number;
    else if (!strcmp(key, "capability")) sscanf(value, "%d %d", &d->major, &d->minor);
    else if (!strcmp(key, "memory_total")) d->memory_total = (unsigned long long)number;
    else if (!strcmp(key, "memory_reserved")) d->memory_reserved = (unsigned long long)number;
    else if (!strcmp(key, "power")) d->power = profile(value);
    else if (!strcmp(key, "module_power")) d->module_power = profile(value);
    else if (!strcmp(key, "utilization")) d->utilization = profile(value);
    else if (!strcmp(key, "memory_used")) d->memory_used = profile(value);
    else if (!strcmp(key, "temperature")) d->temperature = profile(value);
    else if (!strcmp(key, "clock")) d->clock = profile(value);
    else if (!strcmp(key, "throttle")) d->throttle = profile(value);
    else if (!strcmp(key, "limit_w")) d->limit_w = number;
    else if (!strcmp(key, "tau_s")) d->tau_s = number;
    else if (!strcmp(key, "jitter_s")) d->jitter_s = number;
    else if (!strcmp(key, "offset_j")) d->offset_j = number;
    else if (!strcmp(key, "wrap_j")) d->wrap_j = number;
    else if (!strcmp(key, "reload_s")) d->reload_s = number;
    else if (!strcmp(key, "stuck")) sscanf(value, "%lf %lf", &d->stuck_s, &d->moves_s);
    else if (!strcmp(key, "energy_gain")) d->energy_gain = number;
    else if (!strcmp(key, "energy_scope")) d->energy_module = !strcmp(value, "module");
    else if (!strcmp(key, "power_gain")) d->power_gain = number;
    else if (!strcmp(key, "power_update_s")) d->power_update_s = number;
    else if (!strcmp(key, "power_window_s")) d->power_window_s = number;
    else if (!strcmp(key, "fault")) add_rule(&d->rules, value, 0);
    else if (!strcmp(key, "hang")) add_rule(&d->rules, value, 1);
    else if (!strcmp(key, "process") && d->process_count < MAX_PROCESSES) {
        char pid[32] = "", bytes[32] = "", kind[16] = "";
        sscanf(value, "%31s %31s %15s", pid, bytes, kind);
        d->processes[d->process_count++] = (Process){
            .pid = !strcmp(pid, "self") ? self_pid() : (unsigned)strtoul(pid, NULL, 10),
            .bytes = !strcmp(bytes, "hidden") ? NOT_AVAILABLE : strtoull(bytes, NULL, 10),
            .kind = kind[0]};
    }
}

static void load(void) {
    const char *path = getenv("RESMON_NVML_SCRIPT");
    struct stat st;
    if (!path || stat(path, &st)) { loaded = 0; return; }
    if (loaded && st.st_ino == script_inode && !memcmp(&st.st_mtim, &script_time, sizeof script_time)) return;
    FILE *f = fopen(path, "r");
    if (!f) { loaded = 0; return; }
    script_inode = st.st_ino;
    script_time = st.st_mtim;
    loaded = 1;
    device_count = 0;
    system_rules.rule_count = 0;
    int parent = -1, slices = 0;
    char line[8192], key[64];
    while (fgets(line, sizeof line, f)) {
        int skip = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%63s %n", key, &skip) < 1) continue;
        const char *value = line + skip;
        int slice = !strcmp(key, "slice");
        if ((slice || !strcmp(key, "gpu")) && device_count < MAX_DEVICES) {
            Device *d = &devices[device_count];
            memset(d, 0, sizeof *d);
            snprintf(d->uuid, sizeof d->uuid, "%s", value);
            d->parent = slice ? parent : -1;
            d->slice_index = slice ? slices++ : -1;
            d->major = 9;
            d->energy_gain = d->power_gain = 1;
            d->reload_s = d->stuck_s = d->moves_s = INFINITY;
            d->power = d->utilization = d->memory_used = d->temperature = d->clock = d->throttle = constant(0);
            if (!slice) { parent = device_count; slices = 0; }
            device_count++;
        } else if (device_count) set(&devices[device_count - 1], key, value);
        else if (!strcmp(key, "epoch")) epoch = strtod(value, NULL);
        else if (!strcmp(key, "driver")) snprintf(driver_version, sizeof driver_version, "%s", value);
        else if (!strcmp(key, "fault")) add_rule(&system_rules, value, 0);
        else if (!strcmp(key, "hang")) add_rule(&system_rules, value, 1);
    }
    fclose(f);
}

/* ---- the profiles: c V | s T0 V0 T1 V1 ... | q LOW HIGH PERIOD DUTY START ---- */

static double value_at(const Profile *p, double t) {
    if (p->kind == 'c') return p->v[0];
    if (p->kind == 's') {
        double v = p->v[1];
        for (int i = 0; i + 1 < p->n; i += 2) if (t >= p->v[i]) v = p->v[i + 1];
        return v;
    }
    double since = t - p->v[4];
    return since >= 0 && fmod(since, p->v[2]) < p->v[3] * p->v[2] ? p->v[1] : p->v[0];
}

static double integral(const Profile *p, double t) {
    if (t <= 0) return value_at(p, 0) * t;
    if (p->kind == 'c') return p->v[0] * t;
    if (p->kind == 's') {
        double sum = 0, from = 0, v = p->v[1];
        for (int i = 0; i + 1 < p->n && p->v[i] < t; i += 2) {
            if (p->v[i] > from) { sum += v * (p->v[i] - from); from = p->v[i]; }
            v = p->v[i + 1];
        }
        return sum + v * (t - from);
    }
    double since = t - p->v[4], extra = p->v[1] - p->v[0], on = p->v[3] * p->v[2];
    if (since <= 0) return p->v[0] * t;
    double rest = fmod(since, p->v[2]);
    double rounds = round((since - rest) / p->v[2]);  // not floor(since / v[2]), which may be one more than rest says
    return p->v[0] * t + extra * (rounds * on + (rest < on ? rest : on));
}

static double edge(const Device *d, double k, double tau, double jitter) {
    unsigned long long x = (unsigned long long)((long long)k + 1) * 0x9e3779b97f4a7c15ULL ^ (unsigned long long)(d - devices);
    x ^= x >> 31; x *= 0xbf58476d1ce4e5b9ULL; x ^= x >> 29;
    return k * tau + jitter * ((double)(x >> 11) / 9007199254740992.0 - 0.5);
}

static double last_edge(const Device *d, double t, double tau, double jitter) {
    if (tau <= 0) return t;
    double k = floor(t / tau) + 1;
    while (edge(d, k, tau, jitter) > t) k -= 1;
    return edge(d, k, tau, jitter);
}

static unsigned long long energy_mj(const Device *d, double t) {
    const Profile *p = d->energy_module ? &d->module_power : &d->power;
    if (t >= d->stuck_s && t < d->moves_s) t = d->stuck_s;
    double at = last_edge(d, t, d->tau_s, d->jitter_s), j;
    if (at >= d->reload_s) j = d->energy_gain * (integral(p, at) - integral(p, d->reload_s));
    else j = d->offset_j + d->energy_gain * integral(p, at);
    if (d->wrap_j > 0) j = fmod(j, d->wrap_j);
    return j > 0 ? (unsigned long long)(j * 1000.0 + 1e-6) : 0;
}

static double instant_w(const Device *d, const Profile *p, double t) {
    double at = last_edge(d, t, d->power_update_s, 0);
    if (d->power_window_s <= 0) return d->power_gain * value_at(p, at);
    return d->power_gain * (integral(p, at) - integral(p, at - d->power_window_s)) / d->power_window_s;
}

static double average_w(const Device *d, const Profile *p, double t) {
    double at = last_edge(d, t, d->power_update_s, 0);
    return d->power_gain * (integral(p, at) - integral(p, at - 1.0));
}

/* ---- every call comes through here ---- */

/* Where RESMON_NVML_CALLS names a file, the calls on devices of all processes are counted in its first eight bytes. */
static unsigned long long *shared_calls(void) {
    static unsigned long long *shared;
    const char *path = getenv("RESMON_NVML_CALLS");
    if (shared || !path) return shared;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return NULL;
    if (!ftruncate(fd, sizeof *shared)) {
        void *room = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (room != MAP_FAILED) shared = room;
    }
    close(fd);
    return shared;
}

static void count(const char *function, int device) {
    unsigned long long *shared = device >= 0 ? shared_calls() : NULL;
    if (shared) __atomic_add_fetch(shared, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < count_count; i++)
        if (counts[i].device == device && !strcmp(counts[i].function, function)) { counts[i].calls++; return; }
    if (count_count == MAX_COUNTS) return;
    Count *c = &counts[count_count++];
    snprintf(c->function, sizeof c->function, "%s", function);
    c->device = device;
    c->calls = 1;
}

static int matches(const char *pattern, const char *function) {
    size_t n = strlen(pattern);
    return n && pattern[n - 1] == '*' ? !strncmp(pattern, function, n - 1) : !strcmp(pattern, function);
}

static int apply(const Rules *rules, const char *function, double t, double *hang) {
    int code = OK;
    for (int i = 0; i < rules->rule_count; i++) {
        const Rule *r = &rules->rules[i];
        if (!matches(r->function, function)) continue;
        /* A lost GPU stays lost for a library that was initialised before the GPU came back. */
        double until = r->code == LOST && initialized_at < r->to ? INFINITY : r->to;
        if (t < r->from || t >= until) continue;
        if (r->seconds > 0) *hang = r->seconds; else if (!code) code = r->code;
    }
    return code;
}

/* A file beside the script, its name with ".release" at the end, ends every call that hangs. */
static int released(void) {
    const char *path = getenv("RESMON_NVML_SCRIPT");
    char name[4096];
    return path && snprintf(name, sizeof name, "%s.release", path) < (int)sizeof name && !access(name, F_OK);
}

static int enter(const char *function, const Device *d, double *t) {
    double hang = 0;
    pthread_mutex_lock(&lock);
    load();
    *t = monotonic() - epoch;
    int index = d ? (int)(d - devices) : -1, code;
    count(function, index);
    if (d && (index < 0 || index >= device_count)) code = NOT_FOUND;
    else code = apply(d ? &d->rules : &system_rules, function, *t, &hang);
    if (!code && d && d->parent >= 0) code = apply(&devices[d->parent].rules, "slices", *t, &hang);
    if (!loaded) code = NOT_LOADED;
    else if (!initialized && strncmp(function, "nvmlInit", 8)) code = UNINITIALIZED;
    pthread_mutex_unlock(&lock);
    if (hang > 0) {
        double end = monotonic() + hang, left;
        while ((left = end - monotonic()) > 0 && !released()) {
            if (left > 0.02) left = 0.02;
            nanosleep(&(struct timespec){0, (long)(left * 1e9)}, NULL);
        }
        *t = monotonic() - epoch;
    }
    return code;
}

#define ENTER(d) double t; int code = enter(__func__, d, &t); if (code) return code
#define NO_SLICES(d) if ((d)->parent >= 0) return NOT_SUPPORTED

static int start(const char *function) {
    double t;
    int code = enter(function, NULL, &t);
    if (code) return code;
    pthread_mutex_lock(&lock);
    if (!initialized++) initialized_at = t;
    pthread_mutex_unlock(&lock);
    return OK;
}

EXPORT int nvmlInit_v2(void) { return start(__func__); }
EXPORT int nvmlInit(void) { return start(__func__); }
EXPORT int nvmlInitWithFlags(unsigned flags) { (void)flags; return start(__func__); }
EXPORT int nvmlShutdown(void) {
    ENTER(NULL);
    pthread_mutex_lock(&lock);
    initialized--;
    pthread_mutex_unlock(&lock);
    return OK;
}
EXPORT const char *nvmlErrorString(int code) {
    static __thread char text[32];
    snprintf(text, sizeof text, "scripted error %d", code);
    return text;
}
static int copy(char *to, unsigned size, const char *from) {
    if (strlen(from) >= size) return TOO_SMALL;
    strcpy(to, from);
    return OK;
}
EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned size) { ENTER(NULL); return copy(text, size, driver_version); }
EXPORT int nvmlSystemGetNVMLVersion(char *text, unsigned size) { ENTER(NULL); return copy(text, size, driver_version); }
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version) { ENTER(NULL); *version = 13000; return OK; }
EXPORT int nvmlDeviceGetCount_v2(unsigned *n) {
    ENTER(NULL);
    *n = 0;
    for (int i = 0; i < device_count; i++) *n += devices[i].parent < 0;
    return OK;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **handle) {
    ENTER(NULL);
    for (int i = 0; i < device_count; i++)
        if (devices[i].parent < 0 && index-- == 0) { *handle = &devices[i]; return enter(__func__, *handle, &t); }
    return BAD_ARGUMENT;
}
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, Device **handle) {
    ENTER(NULL);
    for (int i = 0; i < device_count; i++)
        if (!strcmp(devices[i].uuid, uuid)) { *handle = &devices[i]; return enter(__func__, *handle, &t); }
    return NOT_FOUND;
}
EXPORT int nvmlDeviceGetName(Device *d, char *text, unsigned size) { ENTER(d); return copy(text, size, d->name); }
EXPORT int nvmlDeviceGetUUID(Device *d, char *text, unsigned size) { ENTER(d); return copy(text, size, d->uuid); }
EXPORT int nvmlDeviceGetIndex(Device *d, unsigned *index) {
    ENTER(d);
    *index = 0;
    for (Device *other = devices; other < d; other++) *index += other->parent < 0;
    if (d->slice_index >= 0) *index = (unsigned)d->slice_index;
    return OK;
}
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
EXPORT int nvmlDeviceGetPciInfo_v3(Device *d, Pci *pci) {
    ENTER(d);
    memset(pci, 0, sizeof *pci);
    pci->bus = 1 + (unsigned)(d - devices);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", pci->bus);
    return OK;
}
EXPORT int nvmlDeviceGetCudaComputeCapability(Device *d, int *major, int *minor) { ENTER(d); *major = d->major; *minor = d->minor; return OK; }
EXPORT int nvmlDeviceGetArchitecture(Device *d, unsigned *architecture) { ENTER(d); *architecture = d->major >= 9 ? 9 : 7; return OK; }
EXPORT int nvmlDeviceGetComputeMode(Device *d, unsigned *mode) { ENTER(d); *mode = 0; return OK; }
EXPORT int nvmlDeviceGetPersistenceMode(Device *d, unsigned *mode) { ENTER(d); *mode = 1; return OK; }
EXPORT int nvmlDeviceGetPerformanceState(Device *d, unsigned *state) { ENTER(d); *state = 0; return OK; }
EXPORT int nvmlDeviceGetPowerState(Device *d, unsigned *state) { ENTER(d); *state = 0; return OK; }
EXPORT int nvmlDeviceGetUtilizationRates(Device *d, unsigned *rates) {
    ENTER(d);
    NO_SLICES(d);
    if (d->mig) return NOT_SUPPORTED;
    rates[0] = (unsigned)value_at(&d->utilization, t);
    rates[1] = rates[0] / 2;
    return OK;
}
EXPORT int nvmlDeviceGetMemoryInfo(Device *d, unsigned long long *m) {
    ENTER(d);
    m[0] = d->memory_total;
    m[2] = (unsigned long long)value_at(&d->memory_used, t) + d->memory_reserved;
    m[1] = m[0] - m[2];
    return OK;
}
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
EXPORT int nvmlDeviceGetMemoryInfo_v2(Device *d, Memory2 *m) {
    ENTER(d);
    m->total = d->memory_total;
    m->reserved = d->memory_reserved;
    m->used = (unsigned long long)value_at(&d->memory_used, t);
    m->free = m->total - m->reserved - m->used;
    return OK;
}
EXPORT int nvmlDeviceGetPowerUsage(Device *d, unsigned *mw) {
    ENTER(d);
    NO_SLICES(d);
    *mw = (unsigned)(average_w(d, &d->power, t) * 1000 + 0.5);
    return OK;
}
EXPORT int nvmlDeviceGetTotalEnergyConsumption(Device *d, unsigned long long *mj) {
    ENTER(d);
    NO_SLICES(d);
    *mj = energy_mj(d, t);
    return OK;
}
typedef struct { unsigned id, scope; long long timestamp, latency; unsigned type; int code; union { double d; unsigned ui; unsigned long long ull; } value; } Field;
EXPORT int nvmlDeviceGetFieldValues(Device *d, int n, Field *fields) {
    ENTER(d);
    NO_SLICES(d);
    for (Field *f = fields; f < fields + n; f++) {
        char name[32];
        double hang = 0;
        const Profile *p = f->scope == 1 ? &d->module_power : &d->power;
        snprintf(name, sizeof name, "field:%u", f->id);
        f->timestamp = (long long)((t + epoch) * 1e6);
        f->latency = 0;
        f->type = 1;
        f->code = apply(&d->rules, name, t, &hang);
        if (!f->code && (f->scope > 1 || !p->n)) f->code = NOT_SUPPORTED;
        if (f->code) continue;
        if (f->id == 186) f->value.ui = (unsigned)(instant_w(d, p, t) * 1000 + 0.5);
        else if (f->id == 185) f->value.ui = (unsigned)(average_w(d, p, t) * 1000 + 0.5);
        else if (f->id >= 187 && f->id <= 190 && d->limit_w > 0) f->value.ui = (unsigned)(d->limit_w * 1000);
        else if (f->id == 83 || f->id == 191) { f->type = 3; f->value.ull = energy_mj(d, t); }
        else f->code = NOT_SUPPORTED;
    }
    return OK;
}
EXPORT int nvmlDeviceGetTemperature(Device *d, unsigned sensor, unsigned *celsius) {
    ENTER(d);
    NO_SLICES(d);
    (void)sensor;
    *celsius = (unsigned)value_at(&d->temperature, t);
    return OK;
}
typedef struct { unsigned version, sensor; int celsius; } Temperature;
EXPORT int nvmlDeviceGetTemperatureV(Device *d, Temperature *out) {
    ENTER(d);
    NO_SLICES(d);
    out->celsius = (int)value_at(&d->temperature, t);
    return OK;
}
EXPORT int nvmlDeviceGetClockInfo(Device *d, unsigned type, unsigned *mhz) {
    ENTER(d);
    NO_SLICES(d);
    (void)type;
    *mhz = (unsigned)value_at(&d->clock, t);
    return OK;
}
EXPORT int nvmlDeviceGetCurrentClocksEventReasons(Device *d, unsigned long long *mask) {
    ENTER(d);
    NO_SLICES(d);
    *mask = (unsigned long long)value_at(&d->throttle, t);
    return OK;
}
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(Device *d, unsigned long long *mask) {
    ENTER(d);
    NO_SLICES(d);
    *mask = (unsigned long long)value_at(&d->throttle, t);
    return OK;
}
static int limit(const Device *d, unsigned *mw) {
    if (d->limit_w <= 0) return NOT_SUPPORTED;
    *mw = (unsigned)(d->limit_w * 1000);
    return OK;
}
EXPORT int nvmlDeviceGetEnforcedPowerLimit(Device *d, unsigned *mw) { ENTER(d); NO_SLICES(d); return limit(d, mw); }
EXPORT int nvmlDeviceGetPowerManagementLimit(Device *d, unsigned *mw) { ENTER(d); NO_SLICES(d); return limit(d, mw); }
EXPORT int nvmlDeviceGetPowerManagementDefaultLimit(Device *d, unsigned *mw) { ENTER(d); NO_SLICES(d); return limit(d, mw); }
EXPORT int nvmlDeviceGetPowerManagementMode(Device *d, unsigned *mode) { ENTER(d); NO_SLICES(d); *mode = 1; return OK; }
EXPORT int nvmlDeviceGetPowerManagementLimitConstraints(Device *d, unsigned *low, unsigned *high) {
    ENTER(d);
    NO_SLICES(d);
    *low = 100000;
    return limit(d, high);
}
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } ProcessInfo;
static int processes(const Device *d, char kind, unsigned *n, ProcessInfo *out) {
    unsigned room = *n, found = 0;
    for (int i = 0; i < d->process_count; i++) {
        if (d->processes[i].kind != kind) continue;
        if (out && found < room)
            out[found] = (ProcessInfo){d->processes[i].pid, d->processes[i].bytes, (unsigned)d->gpu_instance, (unsigned)d->compute_instance};
        found++;
    }
    *n = found;
    return found > room ? TOO_SMALL : OK;
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) { ENTER(d); return processes(d, 'c', n, out); }
EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) { ENTER(d); return processes(d, 'g', n, out); }
EXPORT int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) { ENTER(d); NO_SLICES(d); *current = *pending = (unsigned)d->mig; return OK; }
EXPORT int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *n) { ENTER(d); *n = d->mig ? 7 : 0; return OK; }
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(Device *d, unsigned index, Device **handle) {
    ENTER(d);
    for (int i = 0; i < device_count; i++)
        if (devices[i].parent == d - devices && devices[i].slice_index == (int)index) { *handle = &devices[i]; return OK; }
    return NOT_FOUND;
}
EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *d, Device **handle) {
    ENTER(d);
    if (d->parent < 0) return BAD_ARGUMENT;
    *handle = &devices[d->parent];
    return OK;
}
EXPORT int nvmlDeviceIsMigDeviceHandle(Device *d, unsigned *yes) { ENTER(d); *yes = d->parent >= 0; return OK; }
EXPORT int nvmlDeviceGetGpuInstanceId(Device *d, unsigned *id) { ENTER(d); if (d->parent < 0) return NOT_SUPPORTED; *id = (unsigned)d->gpu_instance; return OK; }
EXPORT int nvmlDeviceGetComputeInstanceId(Device *d, unsigned *id) { ENTER(d); if (d->parent < 0) return NOT_SUPPORTED; *id = (unsigned)d->compute_instance; return OK; }
typedef struct { unsigned long long timestamp; unsigned long long value; } Sample;
EXPORT int nvmlDeviceGetSamples(Device *d, unsigned kind, unsigned long long since_us, unsigned *type, unsigned *n, Sample *out) {
    ENTER(d);
    if (kind != 0) return NOT_SUPPORTED;
    const double step = d->power_update_s > 0 ? d->power_update_s : 0.02;
    unsigned room = out ? *n : 100;
    *type = 1;
    *n = 0;
    for (double at = floor(t / step) * step - 99 * step; at <= t && *n < room; at += step) {
        if (at < 0 || (at + epoch) * 1e6 <= since_us) continue;
        if (out) out[*n] = (Sample){(unsigned long long)((at + epoch) * 1e6), (unsigned long long)(instant_w(d, &d->power, at) * 1000 + 0.5)};
        ++*n;
    }
    return OK;
}

/* ---- for the tests: what the driver was asked, and what is true ---- */

EXPORT unsigned long long script_calls(const char *pattern, int device) {
    unsigned long long sum = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count_count; i++)
        if ((device < 0 ? counts[i].device >= 0 : counts[i].device == device) && matches(pattern, counts[i].function)) sum += counts[i].calls;
    pthread_mutex_unlock(&lock);
    return sum;
}
EXPORT void script_reset_calls(void) { pthread_mutex_lock(&lock); count_count = 0; pthread_mutex_unlock(&lock); }
EXPORT double script_now_s(void) { pthread_mutex_lock(&lock); load(); pthread_mutex_unlock(&lock); return monotonic() - epoch; }
EXPORT double script_true_energy_j(int device, double t) { return integral(&devices[device].power, t); }

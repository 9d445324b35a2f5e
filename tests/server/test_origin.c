/* DNS rebinding (CVE-2024-28224): which names and pages are let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/origin.h"

static const struct str hosts[] = {{"box.lan", 7}, {"api.example:8080", 16}};
static const struct str origins[] = {{"https://app.example", 19}};

static const struct origin_rules local = {.bound_host = "127.0.0.1"};
static const struct origin_rules wide = {.bound_host = "0.0.0.0", .hosts = hosts, .hosts_n = 2,
                                         .origins = origins, .origins_n = 1};
static const struct origin_rules lan = {.bound_host = "192.168.1.5"};

static void test_host(void **state)
{
    static const struct { const char *host; bool local, wide; } cases[] = {
        {"localhost", true, true}, {"LocalHost:7777", true, true}, {"a.localhost", true, true},
        {"127.0.0.1", true, true}, {"127.0.0.1:1", true, true}, {"127.255.3.4:7777", true, true},
        {"[::1]", true, true}, {"[::1]:7777", true, true}, {"localhost:", true, true},
        {"evil.example", false, false}, {"localhost.evil.example", false, false},
        {"127.0.0.1.nip.io", false, false}, {"evillocalhost", false, false},
        {".localhost", false, false}, {"", false, false}, {":7777", false, false},
        {"128.0.0.1", false, true}, {"10.0.0.1:7777", false, true}, {"[fe80::1]", false, true},
        {"0177.0.0.1", false, false}, {"127.1", false, false}, {"2130706433", false, false},
        {"127.0.0.1:7777:1", false, false}, {"127.0.0.1:x", false, false},
        {"127.0.0.1:777777", false, false}, {"127.0.0.1 ", false, false},
        {"user@127.0.0.1", false, false}, {"127.0.0.1/", false, false}, {"[::1", false, false},
        {"[::1]x", false, false}, {"::1", false, false}, {"[]", false, false},
        {"[127.0.0.1]", false, false}, {"box.lan", false, true}, {"BOX.lan:9", false, true},
        {"xbox.lan", false, false}, {"api.example:8080", false, true},
        {"api.example:8081", false, false}, {"api.example", false, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (host_allowed(&local, str_of(cases[i].host)) != cases[i].local)
            fail_msg("\"%s\", bound to 127.0.0.1", cases[i].host);
        if (host_allowed(&wide, str_of(cases[i].host)) != cases[i].wide)
            fail_msg("\"%s\", bound to 0.0.0.0", cases[i].host);
    }
    assert_true(host_allowed(&lan, STR("192.168.1.5:7777")));
    assert_false(host_allowed(&local, (struct str){"localhost\0", 10}));
    assert_false(host_allowed(&local, (struct str){"127.0.0.1\0.evil", 15}));
}

static void test_origin(void **state)
{
    static const struct { const char *origin; bool local, wide; } cases[] = {
        {"http://localhost", true, true}, {"http://localhost:3000", true, true},
        {"https://127.0.0.1:8443", true, true}, {"http://[::1]:3000", true, true},
        {"http://app.localhost:3000", true, true}, {"null", false, false}, {"", false, false},
        {"https://app.example", false, true}, {"https://app.example:444", false, false},
        {"http://app.example", false, false}, {"https://evil.example", false, false},
        {"http://localhost.evil.example", false, false}, {"file://localhost", false, false},
        {"localhost", false, false}, {"http://", false, false},
        {"http://localhost/path", false, false}, {"http://localhost@evil", false, false},
        {"http://10.0.0.1", false, false}, {"chrome-extension://abc", false, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (origin_allowed(&local, str_of(cases[i].origin)) != cases[i].local)
            fail_msg("\"%s\", no allowed origins", cases[i].origin);
        if (origin_allowed(&wide, str_of(cases[i].origin)) != cases[i].wide)
            fail_msg("\"%s\", with allowed origins", cases[i].origin);
    }
}

static void test_loopback(void **state)
{
    assert_true(host_is_loopback(STR("::1")));
    assert_true(host_is_loopback(STR("127.9.9.9")));
    assert_true(host_is_loopback(STR("localhost")));
    assert_false(host_is_loopback(STR("0.0.0.0")));
    assert_false(host_is_loopback(STR("::")));
    assert_false(host_is_loopback(STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host), cmocka_unit_test(test_origin), cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

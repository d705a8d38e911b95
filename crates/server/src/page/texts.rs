//! The texts of the page in its languages, side by side, so that no language lacks one. `{name}` stands for a value.

macro_rules! texts {
    ($($name:ident: $english:literal, $bulgarian:literal;)*) => {
        /// The texts in one language.
        #[derive(Debug)]
        pub(super) struct Texts {
            $(pub(super) $name: &'static str,)*
        }

        pub(super) static ENGLISH: Texts = Texts { $($name: $english,)* };
        pub(super) static BULGARIAN: Texts = Texts { $($name: $bulgarian,)* };

        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $bulgarian),)*];
    };
}

texts! {
    // What every page has.
    tagline: "Open data, with every value it ever had", "Отворени данни с всяка стойност, която са имали";
    skip: "Skip to the content", "Към съдържанието";
    navigation: "Main", "Основна навигация";
    nav_catalogue: "Catalogue", "Каталог";
    nav_sql: "SQL", "SQL";
    nav_operations: "Operations", "Експлоатация";
    nav_interface: "Interface", "Интерфейс";
    nav_about: "About", "За центъра";
    language: "Language", "Език";
    theme: "Light or dark", "Светла или тъмна";
    log_in: "Log in", "Вход";
    log_out: "Log out", "Изход";
    no_scripts: "This server was built without scripts: pages work, charts and maps are links to their data.",
        "Този сървър е компилиран без скриптове: страниците работят, а диаграмите и картите са връзки към данните си.";
    unknown: "not stated", "не е посочено";
    none: "none", "няма";
    yes: "yes", "да";
    no: "no", "не";

    // Catalogue.
    search: "Search", "Търсене";
    search_hint: "Title, column, code or series", "Заглавие, колона, код или ред";
    search_button: "Search", "Търси";
    tables_one: "1 dataset", "1 набор от данни";
    tables_many: "{n} datasets", "{n} набора от данни";
    tables_shown: "the first {n} are shown", "показани са първите {n}";
    nothing_found: "Nothing matches.", "Няма съвпадения.";
    nothing_found_way: "Try fewer words or the beginning of a word, or take away a filter.",
        "Опитайте с по-малко думи или с началото на дума, или махнете някой филтър.";
    catalogue_described: "This catalogue for programs (DCAT-AP):", "Този каталог за програми (DCAT-AP):";
    no_tables: "There are no datasets that you may see.", "Няма набори от данни, които да виждате.";
    no_tables_way: "Whoever runs this centre gives out tokens and decides what is public.",
        "Който поддържа този център, издава токени и решава кое е публично.";
    filters: "Filters", "Филтри";
    facet_provider: "Provider", "Доставчик";
    facet_topic: "Collection", "Колекция";
    facet_country: "Country", "Държава";
    facet_licence: "Licence", "Лиценз";
    facet_fresh: "Changed within", "Променени през последните";
    fresh_day: "24 hours", "24 часа";
    fresh_week: "7 days", "7 дни";
    fresh_month: "31 days", "31 дни";
    fresh_year: "365 days", "365 дни";
    any: "any", "без значение";
    remove_filter: "Remove the filter {what}", "Премахване на филтъра {what}";
    found_title: "title", "заглавие";
    found_table: "name", "име";
    found_column: "column", "колона";
    found_code: "code", "код";
    found_series: "series", "ред";
    found_description: "description", "описание";
    found_provider: "provider", "доставчик";

    // Dataset page.
    changed: "Last changed", "Последна промяна";
    verified: "Last verified", "Последна проверка";
    due: "Next run due", "Следващо изпълнение";
    overdue: "Overdue since", "Просрочено от";
    failed: "The newest run failed", "Последното изпълнение е неуспешно";
    rows: "Rows", "Редове";
    size: "Size", "Размер";
    version: "Version", "Версия";
    versions: "Versions", "Версии";
    versions_shown: "The newest {n} of {all} are shown.", "Показани са най-новите {n} от общо {all}.";
    committed: "Committed", "Записана";
    operation: "Operation", "Операция";
    rows_added: "Rows added", "Добавени редове";
    rows_revised: "Revised", "Ревизирани";
    rows_withdrawn: "Withdrawn", "Оттеглени";
    vintages: "Vintages: what was known when", "Ревизии: какво кога е било известно";
    origin: "Origin", "Произход";
    licence: "Licence", "Лиценз";
    redistribution: "May be passed on", "Може да се предоставя на други";
    landing_page: "Page of the provider", "Страница на доставчика";
    provider: "Provider", "Доставчик";
    provider_citation: "Provider's citation", "Цитиране според доставчика";
    key: "Key", "Ключ";
    columns: "Columns", "Колони";
    column: "Column", "Колона";
    kind: "Type", "Тип";
    unit: "Unit", "Мерна единица";
    meaning: "Meaning", "Значение";
    source_name: "called {name} by the provider", "при доставчика: {name}";
    code_list: "{n} codes", "{n} кода";
    codes_cut: "only the first {n} are listed", "изброени са само първите {n}";
    profile: "Profile", "Профил";
    profile_nulls: "Missing", "Липсващи";
    profile_distinct: "Different, about", "Различни, около";
    profile_least: "Least", "Най-малка";
    profile_greatest: "Greatest", "Най-голяма";
    profile_frequent: "Most frequent", "Най-чести";
    profile_waiting: "The profile is still being computed.", "Профилът все още се изчислява.";
    profile_link: "Show it once it is ready", "Покажете го, щом е готов";
    profile_failed: "The profile could not be computed:", "Профилът не можа да бъде изчислен:";
    profile_cut: "Only the first {n} columns are profiled.", "Профилът обхваща само първите {n} колони.";
    restricted: "Of this table you see a part. What the page shows is made of it; counts, versions and fingerprints of the whole are left out.",
        "От тази таблица виждате част. Показаното на страницата е направено от нея; броят на редовете, версиите и отпечатъците на цялото са пропуснати.";
    sample: "Sample", "Извадка";
    sample_failed: "The sample could not be read:", "Извадката не можа да бъде прочетена:";
    sample_empty: "The table has no rows.", "Таблицата няма редове.";
    chart: "Chart", "Диаграма";
    chart_data: "The data of the chart", "Данните на диаграмата";
    map: "Map", "Карта";
    map_data: "The data of the map", "Данните на картата";
    map_latest: "latest period", "последен период";
    cite: "How to cite", "Как да цитирате";
    cite_text: "Text", "Текст";
    cite_page: "The page of this citation", "Страницата на този цитат";
    cite_others: "For reference managers:", "За програми за библиография:";
    described: "Descriptions for programs:", "Описания за програми:";
    use_it: "Use it", "Използване";
    use_token: "Put your token into the variable HAMBAR_TOKEN first, or where hbr_… stands.",
        "Първо запишете токена си в променливата HAMBAR_TOKEN или на мястото на hbr_…";
    open_in_sql: "Open in the SQL workbench", "Отваряне в SQL";
    download: "Download", "Изтегляне";

    // Workbench.
    sql_title: "SQL workbench", "SQL работно място";
    statement: "Statement", "Заявка";
    run: "Run", "Изпълнение";
    result: "Result", "Резултат";
    result_rows: "{n} rows", "редове: {n}";
    result_cut: "Only the first {n} rows are shown; the downloads have all of them.",
        "Показани са само първите {n} реда; файловете за изтегляне съдържат всички.";
    result_limited: "A limit of the server cut off further rows.", "Ограничение на сървъра отряза останалите редове.";
    result_none: "The statement has no rows.", "Заявката не връща редове.";
    sources: "Sources", "Източници";
    error_at: "at line {line}, character {column}", "на ред {line}, знак {column}";
    try_this: "Tables that you can ask:", "Таблици, към които можете да отправяте заявки:";
    sql_help: "Read-only SQL. VERSION AS OF and FOR SYSTEM_TIME AS OF read the past.",
        "SQL само за четене. VERSION AS OF и FOR SYSTEM_TIME AS OF четат минали състояния.";

    // Login.
    login_title: "Log in", "Вход";
    token: "Token", "Токен";
    token_hint: "It begins with hbr_. Whoever runs this centre makes one with `hambar members add-token`.",
        "Започва с hbr_. Който поддържа този център, го създава с `hambar members add-token`.";
    login_refused: "The token is not valid.", "Токенът не е валиден.";
    login_tried: "Too many tokens from your address were not valid. Wait a minute.",
        "Твърде много невалидни токени от вашия адрес. Изчакайте минута.";
    login_elsewhere: "Log in with {provider}", "Вход чрез {provider}";
    login_or_token: "Or with a token:", "Или с токен:";
    login_again: "Log in again", "Нов опит за вход";
    logged_in: "You are logged in", "Влязохте";
    logged_out: "You are logged out", "Излязохте";
    go_on: "Go on", "Продължете";
    oidc_unreachable: "{provider} does not answer", "{provider} не отговаря";
    oidc_unreachable_way: "Nobody can log in there at the moment. Try again in a minute, or log in with a token.",
        "В момента там не може да се влезе. Опитайте пак след минута или влезте с токен.";
    oidc_busy: "Too many people are logging in", "Твърде много хора влизат едновременно";
    oidc_busy_way: "Try again in a moment.", "Опитайте пак след малко.";
    oidc_setup: "Logging in with {provider} is not set up rightly", "Входът чрез {provider} не е настроен правилно";
    oidc_setup_way: "Tell whoever runs this centre; the cause is in the server's log. Until then, log in with a token.",
        "Обадете се на поддържащия центъра; причината е в дневника на сървъра. Дотогава влизайте с токен.";
    oidc_cancelled: "The login was cancelled", "Входът беше отказан";
    oidc_cancelled_way: "You or {provider} said no, and nobody was logged in. If that was not meant, log in again.",
        "Вие или {provider} отказахте и никой не влезе. Ако не е нарочно, опитайте пак.";
    oidc_stale: "This login is over", "Този вход вече не важи";
    oidc_stale_way: "It was begun in another window or browser, took more than ten minutes, or was finished already. Log in again.",
        "Започнат е в друг прозорец или браузър, продължил е повече от десет минути или вече е завършен. Влезте отново.";
    oidc_clock: "The clocks differ", "Часовниците се разминават";
    oidc_clock_way: "What {provider} says does not hold at this time of the server. Tell whoever runs this centre to check its clock.",
        "Потвърждението от {provider} не важи според часа на сървъра. Помолете поддържащия центъра да провери часовника му.";
    oidc_unproven: "The login could not be proven", "Входът не можа да бъде доказан";
    oidc_unproven_way: "The answer is not what {provider} gives to this centre. Nobody was logged in. Try again; if it stays so, tell whoever runs this centre.",
        "Отговорът не е този, който {provider} дава на този център. Никой не влезе. Опитайте пак; ако се повтори, обадете се на поддържащия центъра.";
    oidc_claim: "{provider} does not say who you are", "{provider} не съобщава кои сте";
    oidc_claim_way: "Its answer lacks the claim {claim}, or it cannot be a name here. Tell whoever runs this centre.",
        "В отговора липсва {claim} или стойността не може да бъде име тук. Обадете се на поддържащия центъра.";
    oidc_unverified: "Your mail address is not confirmed", "Пощенският ви адрес не е потвърден";
    oidc_unverified_way: "Confirm it at {provider}, then log in again.", "Потвърдете го в {provider} и влезте отново.";
    oidc_unknown: "You are not a member", "Не сте член";
    oidc_unknown_way: "{provider} knows you as {name}, but this centre does not. Ask whoever runs it to add you.",
        "{provider} ви познава като {name}, но този център не ви познава. Помолете поддържащия го да ви добави.";
    login_needed: "You need to log in to see this page.", "За да видите тази страница, трябва да влезете.";
    logged_in_as: "You are logged in as {name} ({role}).", "Влезли сте като {name} ({role}).";

    // Operations.
    queue: "Queries", "Заявки";
    queries_running: "Running", "Изпълняват се";
    queries_waiting: "Waiting", "Чакат";
    queries_none: "No query is running.", "Няма изпълняващи се заявки.";
    quotas: "Quotas", "Квоти";
    per_member: "Each token runs at most {n} queries at once.", "Всеки токен изпълнява най-много {n} заявки едновременно.";
    quotas_daily: "Used of the daily quotas (UTC)", "Използвано от дневните квоти (UTC)";
    member: "Member", "Член";
    protocol: "Protocol", "Протокол";
    since: "Began", "Начало";
    finished: "Ended", "Край";
    store: "Store", "Хранилище";
    datasets: "Datasets", "Набори от данни";
    store_current: "Sizes are those of the current rows, without histories and earlier versions.",
        "Размерите са на текущите редове, без историите и предишните версии.";
    runs: "Runs", "Изпълнения";
    failures: "Failures", "Неуспехи";
    providers: "Providers, 31 days", "Доставчици, 31 дни";
    hosts: "Their servers, 31 days", "Техните сървъри, 31 дни";
    pipeline: "Pipeline", "Конвейер";
    outcome: "Outcome", "Резултат";
    rows_rejected: "Rejected", "Отхвърлени";
    requests: "Requests", "Заявки по мрежата";
    bytes: "Bytes", "Байтове";
    last_good: "Last success", "Последен успех";
    host: "Server", "Сървър";
    refused: "Refused or failed", "Отказани или неуспешни";
    milliseconds: "Milliseconds on average", "Средно милисекунди";
    last_asked: "Last asked", "Последна заявка";

    // Vintages.
    vintages_of: "Vintages of {title}", "Ревизии на {title}";
    vintages_what: "Every value that this series ever had, with when it was known.",
        "Всяка стойност, която този ред някога е имал, и кога е била известна.";
    vintages_choose: "Series", "Ред";
    vintages_show: "Show", "Покажи";
    vintages_none: "Nothing was ever known under these values.", "За тези стойности никога нищо не е било известно.";
    vintages_no_key: "The table has no key, so its rows cannot be followed through time.",
        "Таблицата няма ключ и редовете ѝ не могат да се проследят във времето.";
    vintages_cut: "Only the first {n} values are shown.", "Показани са само първите {n} стойности.";
    known_from: "Known from", "Известна от";
    known_until: "Until", "До";
    change: "Then", "После";
    change_revised: "revised", "ревизирана";
    change_withdrawn: "withdrawn", "оттеглена";
    change_current: "still holds", "още е в сила";
    to_dataset: "Back to the dataset", "Към набора от данни";
    about_libraries: "Libraries in the page", "Библиотеки в страницата";

    // About.
    about_what: "This is a data centre that collects open data of many providers, keeps every value it ever saw, and answers SQL about it.",
        "Това е център за данни, който събира отворени данни от много доставчици, пази всяка стойност, която някога е виждал, и отговаря на SQL заявки за тях.";
    about_kept: "Each table has versions that can be cited and read again, and a history of what its provider revised.",
        "Всяка таблица има версии, които могат да се цитират и да се прочетат отново, и история на това, което доставчикът ѝ е ревизирал.";
    about_interface: "The interface for programs", "Интерфейсът за програми";
    about_terms: "Licences of the data", "Лицензи на данните";
    about_terms_text: "The data belongs to its providers. Each answer names them and their licences; the page of a dataset says what may be done with it.",
        "Данните принадлежат на доставчиците си. Всеки отговор посочва тях и лицензите им; страницата на набора от данни казва какво може да се прави с него.";

    // Errors.
    error: "Error", "Грешка";
    error_not_found: "There is no such page", "Няма такава страница";
    error_not_found_way: "It does not exist, or it is not for you. Look in the catalogue, or log in.",
        "Не съществува или не е за вас. Потърсете в каталога или влезте с токена си.";
    error_denied: "Not allowed", "Не е разрешено";
    error_denied_way: "Your role or this form does not allow it. Go back, reload the page and try again.",
        "Ролята ви или този формуляр не го позволяват. Върнете се, презаредете страницата и опитайте пак.";
    error_request: "The request is wrong", "Заявката е грешна";
    error_busy: "Not now", "Не сега";
    error_busy_way: "The server is busy or its store cannot be reached. Try again in a moment.",
        "Сървърът е зает или хранилището му е недостъпно. Опитайте пак след малко.";
    error_inner: "Something is wrong with the server", "Нещо в сървъра не е наред";
    error_inner_way: "It was written down in its log. Try again, or tell whoever runs it.",
        "Записано е в дневника му. Опитайте пак или се обадете на поддържащия.";
    to_catalogue: "To the catalogue", "Към каталога";
}

/// Puts values into a text.
pub(super) fn filled(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        // The texts are ours: a brace always closes, and what stands in it is always given.
        let Some((name, following)) = after.split_once('}') else { break };
        let value = values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value);
        filled.push_str(value);
        rest = following;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).map(|piece| piece.split_once('}').unwrap().0).collect()
    }

    #[test]
    fn every_text_is_there_in_every_language() {
        let is_cyrillic = |text: &str| text.chars().any(|character| ('а'..='я').contains(&character));
        // What is called the same everywhere.
        let same = ["nav_sql"];
        for (name, english, bulgarian) in ALL {
            assert!(!english.is_empty() && !bulgarian.is_empty(), "{name}");
            assert!(is_cyrillic(bulgarian) || same.contains(name), "{name}: {bulgarian}");
            assert!(!is_cyrillic(english), "{name}: {english}");
            assert_eq!(names(english), names(bulgarian), "{name}");
        }
    }

    #[test]
    fn values_are_put_in_as_they_are() {
        assert_eq!(filled("{n} of {all}", &[("n", "{all}"), ("all", "3")]), "{all} of 3");
        assert_eq!(filled("plain", &[]), "plain");
    }
}

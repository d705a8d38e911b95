//! The tables of `pg_catalog` and `information_schema` that have no rows here, because the store has nothing of their kind.

/// Names with their columns: `i` numbers, `t` texts, `b` yes or no, `l` lists of texts, `n` lists of numbers.
pub(super) const EMPTY: [(&str, &str); 71] = [
    (
        "information_schema.check_constraints",
        "constraint_catalog:t constraint_schema:t constraint_name:t check_clause:t",
    ),
    (
        "information_schema.constraint_column_usage",
        "table_catalog:t table_schema:t table_name:t column_name:t constraint_catalog:t constraint_schema:t \
         constraint_name:t",
    ),
    ("information_schema.domains", "domain_catalog:t domain_schema:t domain_name:t data_type:t domain_default:t"),
    (
        "information_schema.key_column_usage",
        "constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t table_name:t \
         column_name:t ordinal_position:i position_in_unique_constraint:i",
    ),
    (
        "information_schema.referential_constraints",
        "constraint_catalog:t constraint_schema:t constraint_name:t unique_constraint_catalog:t \
         unique_constraint_schema:t unique_constraint_name:t match_option:t update_rule:t delete_rule:t",
    ),
    (
        "information_schema.sequences",
        "sequence_catalog:t sequence_schema:t sequence_name:t data_type:t start_value:t minimum_value:t \
         maximum_value:t increment:t cycle_option:t",
    ),
    (
        "information_schema.table_constraints",
        "constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t table_name:t \
         constraint_type:t is_deferrable:t initially_deferred:t enforced:t",
    ),
    (
        "information_schema.triggers",
        "trigger_catalog:t trigger_schema:t trigger_name:t event_manipulation:t event_object_schema:t \
         event_object_table:t action_statement:t action_timing:t",
    ),
    ("pg_aggregate", "aggfnoid:i aggkind:t aggnumdirectargs:i aggtransfn:t aggfinalfn:t"),
    (
        "pg_amop",
        "oid:i amopfamily:i amoplefttype:i amoprighttype:i amopstrategy:i amoppurpose:t amopopr:i amopmethod:i \
         amopsortfamily:i",
    ),
    ("pg_amproc", "oid:i amprocfamily:i amproclefttype:i amprocrighttype:i amprocnum:i amproc:t"),
    ("pg_attrdef", "oid:i adrelid:i adnum:i adbin:t"),
    ("pg_auth_members", "roleid:i member:i grantor:i admin_option:b"),
    ("pg_available_extensions", "name:t default_version:t installed_version:t comment:t"),
    ("pg_cast", "oid:i castsource:i casttarget:i castfunc:i castcontext:t castmethod:t"),
    ("pg_collation", "oid:i collname:t collnamespace:i collowner:i collprovider:t collencoding:i"),
    (
        "pg_constraint",
        "oid:i conname:t connamespace:i contype:t condeferrable:b condeferred:b convalidated:b conrelid:i \
         contypid:i conindid:i conparentid:i confrelid:i confupdtype:t confdeltype:t confmatchtype:t conislocal:b \
         coninhcount:i connoinherit:b conkey:n confkey:n conbin:t",
    ),
    (
        "pg_conversion",
        "oid:i conname:t connamespace:i conowner:i conforencoding:i contoencoding:i conproc:t condefault:b",
    ),
    ("pg_cursors", "name:t statement:t is_holdable:b is_binary:b is_scrollable:b creation_time:t"),
    ("pg_db_role_setting", "setdatabase:i setrole:i setconfig:l"),
    ("pg_default_acl", "oid:i defaclrole:i defaclnamespace:i defaclobjtype:t defaclacl:l"),
    ("pg_depend", "classid:i objid:i objsubid:i refclassid:i refobjid:i refobjsubid:i deptype:t"),
    ("pg_description", "objoid:i classoid:i objsubid:i description:t"),
    ("pg_enum", "oid:i enumtypid:i enumsortorder:i enumlabel:t"),
    ("pg_event_trigger", "oid:i evtname:t evtevent:t evtowner:i evtfoid:i evtenabled:t evttags:l"),
    ("pg_extension", "oid:i extname:t extowner:i extnamespace:i extrelocatable:b extversion:t"),
    ("pg_foreign_data_wrapper", "oid:i fdwname:t fdwowner:i fdwhandler:i fdwvalidator:i"),
    ("pg_foreign_server", "oid:i srvname:t srvowner:i srvfdw:i srvtype:t srvversion:t"),
    ("pg_foreign_table", "ftrelid:i ftserver:i ftoptions:l"),
    ("pg_group", "groname:t grosysid:i grolist:n"),
    (
        "pg_index",
        "indexrelid:i indrelid:i indnatts:i indnkeyatts:i indisunique:b indnullsnotdistinct:b indisprimary:b \
         indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b \
         indisreplident:b indkey:n indcollation:n indclass:n indoption:n indexprs:t indpred:t",
    ),
    ("pg_indexes", "schemaname:t tablename:t indexname:t tablespace:t indexdef:t"),
    ("pg_inherits", "inhrelid:i inhparent:i inhseqno:i inhdetachpending:b"),
    ("pg_init_privs", "objoid:i classoid:i objsubid:i privtype:t initprivs:l"),
    ("pg_language", "oid:i lanname:t lanowner:i lanispl:b lanpltrusted:b"),
    ("pg_largeobject_metadata", "oid:i lomowner:i lomacl:l"),
    ("pg_locks", "locktype:t database:i relation:i pid:i mode:t granted:b"),
    ("pg_matviews", "schemaname:t matviewname:t matviewowner:t tablespace:t hasindexes:b ispopulated:b definition:t"),
    ("pg_opclass", "oid:i opcmethod:i opcname:t opcnamespace:i opcowner:i opcfamily:i opcintype:i opcdefault:b"),
    ("pg_operator", "oid:i oprname:t oprnamespace:i oprowner:i oprkind:t oprleft:i oprright:i oprresult:i"),
    ("pg_opfamily", "oid:i opfmethod:i opfname:t opfnamespace:i opfowner:i"),
    ("pg_parameter_acl", "oid:i parname:t paracl:l"),
    ("pg_partitioned_table", "partrelid:i partstrat:t partnatts:i partdefid:i partattrs:n"),
    ("pg_policy", "oid:i polname:t polrelid:i polcmd:t polpermissive:b polroles:n polqual:t polwithcheck:t"),
    ("pg_prepared_statements", "name:t statement:t prepare_time:t parameter_types:l from_sql:b"),
    ("pg_proc", "oid:i proname:t pronamespace:i proowner:i prolang:i prokind:t prorettype:i pronargs:i prosrc:t"),
    ("pg_publication", "oid:i pubname:t pubowner:i puballtables:b pubinsert:b pubupdate:b pubdelete:b"),
    ("pg_publication_namespace", "oid:i pnpubid:i pnnspid:i"),
    ("pg_publication_rel", "oid:i prpubid:i prrelid:i prqual:t prattrs:n"),
    ("pg_range", "rngtypid:i rngsubtype:i rngmultitypid:i rngcollation:i"),
    ("pg_rewrite", "oid:i rulename:t ev_class:i ev_type:t ev_enabled:t is_instead:b"),
    ("pg_rules", "schemaname:t tablename:t rulename:t definition:t"),
    ("pg_seclabel", "objoid:i classoid:i objsubid:i provider:t label:t"),
    ("pg_sequence", "seqrelid:i seqtypid:i seqstart:i seqincrement:i seqmax:i seqmin:i seqcache:i seqcycle:b"),
    (
        "pg_sequences",
        "schemaname:t sequencename:t sequenceowner:t data_type:t start_value:i min_value:i max_value:i \
         increment_by:i cycle:b cache_size:i last_value:i",
    ),
    ("pg_shdepend", "dbid:i classid:i objid:i objsubid:i refclassid:i refobjid:i deptype:t"),
    ("pg_shdescription", "objoid:i classoid:i description:t"),
    (
        "pg_stat_activity",
        "datid:i datname:t pid:i usesysid:i usename:t application_name:t client_addr:t client_port:i \
         backend_start:t xact_start:t query_start:t state_change:t wait_event_type:t wait_event:t state:t \
         backend_xid:i backend_xmin:i query:t backend_type:t",
    ),
    (
        "pg_stat_user_tables",
        "relid:i schemaname:t relname:t seq_scan:i seq_tup_read:i idx_scan:i n_live_tup:i n_dead_tup:i \
         last_vacuum:t last_analyze:t",
    ),
    ("pg_statistic_ext", "oid:i stxrelid:i stxname:t stxnamespace:i stxowner:i stxstattarget:i stxkeys:n stxkind:l"),
    ("pg_stats", "schemaname:t tablename:t attname:t inherited:b null_frac:i avg_width:i n_distinct:i"),
    (
        "pg_subscription",
        "oid:i subdbid:i subname:t subowner:i subenabled:b subconninfo:t subslotname:t subpublications:l",
    ),
    ("pg_transform", "oid:i trftype:i trflang:i trffromsql:t trftosql:t"),
    ("pg_trigger", "oid:i tgrelid:i tgname:t tgfoid:i tgtype:i tgenabled:t tgisinternal:b tgparentid:i tgconstraint:i"),
    ("pg_ts_config", "oid:i cfgname:t cfgnamespace:i cfgowner:i cfgparser:i"),
    ("pg_ts_dict", "oid:i dictname:t dictnamespace:i dictowner:i dicttemplate:i dictinitoption:t"),
    ("pg_ts_parser", "oid:i prsname:t prsnamespace:i prsstart:t prstoken:t prsend:t prsheadline:t prslextype:t"),
    ("pg_ts_template", "oid:i tmplname:t tmplnamespace:i tmplinit:t tmpllexize:t"),
    ("pg_user_mapping", "oid:i umuser:i umserver:i umoptions:l"),
    ("pg_user_mappings", "umid:i srvid:i srvname:t umuser:i usename:t umoptions:l"),
    ("pg_views", "schemaname:t viewname:t viewowner:t definition:t"),
];

/// Says whether a table of this name has no rows.
pub(super) fn is_empty(name: &str) -> bool {
    EMPTY.iter().any(|(known, _)| *known == name)
}

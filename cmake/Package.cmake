# What is installed, and the .deb that CPack makes of it: cpack --config BUILD/CPackConfig.cmake

include(GNUInstallDirs)
install(TARGETS rill RUNTIME)
install(FILES README.md CHANGELOG.md docs/cli.md docs/server.md docs/http.md
              docs/models.md docs/performance.md
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rill)
install(FILES deploy/README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rill RENAME deploy.md)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rill RENAME copyright)
install(DIRECTORY deploy/nginx deploy/haproxy deploy/litellm deploy/kubernetes deploy/prometheus
                  deploy/grafana
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rill/examples)
install(FILES deploy/systemd/rill.service deploy/systemd/rill.socket
        DESTINATION /lib/systemd/system)
install(FILES deploy/systemd/rill.default DESTINATION /etc/default RENAME rill)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rill)
set(CPACK_PACKAGE_VENDOR "Rill")
set(CPACK_PACKAGE_CONTACT "Rill maintainers <maintainers@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "LLM inference engine and OpenAI-compatible server")
set(CPACK_PACKAGE_DESCRIPTION
  "Runs language models on the CPU and serves them over OpenAI's API: one binary, requests that\n\
 are never evicted, the same bits whatever the batch.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
# The symbol table, 1.5 MB, tells what a log's stacks mean (base/thread_stacks.h).
set(CPACK_STRIP_FILES OFF)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "python3-pip, nginx | haproxy, prometheus")
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
# An administrator's settings survive an upgrade.
file(WRITE ${CMAKE_BINARY_DIR}/package/conffiles "/etc/default/rill\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/package/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
include(CPack)
